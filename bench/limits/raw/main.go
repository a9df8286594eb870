// Command raw is about the least a Go proxy can do on net.Conn: one goroutine
// for each client connection, which owns one upstream connection, one write
// for each request and one for each piece of the answer. It is a floor to
// measure against, not a server: it does not watch the client while it waits
// for the upstream, and its parser trusts its peers.
package main

import (
	"errors"
	"log"
	"net"
	"strconv"
	"time"

	"ollama-api-pool/bench/internal/h1"
	"ollama-api-pool/bench/limits/internal/pool"
)

const (
	unauthorized = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
	badGateway   = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)

func main() {
	p := pool.FromFlags()
	ln, err := net.Listen("tcp", p.Listen)
	if err != nil {
		log.Fatal(err)
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(c, p)
	}
}

func serve(c net.Conn, p *pool.Pool) {
	defer c.Close()
	var uc net.Conn
	defer func() {
		if uc != nil {
			uc.Close()
		}
	}()
	r := h1.NewReader(c, 4<<10)
	var ur *h1.Reader
	var req, resp h1.Head
	var body, out []byte
	for {
		if r.ReadHead(&req, false) != nil {
			return
		}
		body = body[:0]
		if _, err := r.Body(&req, false, func(b []byte) error { body = append(body, b...); return nil }); err != nil {
			return
		}
		if !p.AllowBytes(req.Auth) {
			if _, err := c.Write([]byte(unauthorized)); err != nil {
				return
			}
			continue
		}
		for fresh := false; ; {
			if uc == nil {
				var err error
				if uc, err = net.DialTimeout("tcp", p.Upstream.Host, 10*time.Second); err != nil {
					c.Write([]byte(badGateway))
					return
				}
				ur = h1.NewReader(uc, 4<<10)
				fresh = true
			}
			if err := roundTrip(uc, ur, &req, &resp, p, &out, body); err == nil {
				break
			}
			uc.Close()
			uc = nil
			if fresh {
				c.Write([]byte(badGateway))
				return
			}
		}
		if err := relay(c, ur, &resp, &out); err != nil {
			return
		}
		if resp.Close {
			uc.Close()
			uc = nil
		}
		if req.Close {
			return
		}
	}
}

func roundTrip(uc net.Conn, ur *h1.Reader, req, resp *h1.Head, p *pool.Pool, out *[]byte, body []byte) error {
	b := append((*out)[:0], req.Method...)
	b = append(b, ' ')
	b = append(b, req.Target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, p.Upstream.Host...)
	b = append(b, "\r\nAuthorization: "...)
	b = append(b, p.Pick()...)
	b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	b = append(b, body...)
	*out = b
	if _, err := uc.Write(b); err != nil {
		return err
	}
	return ur.ReadHead(resp, true)
}

var errNoLength = errors.New("answer without a length")

func relay(c net.Conn, ur *h1.Reader, resp *h1.Head, out *[]byte) error {
	b := append((*out)[:0], resp.Raw...)
	if !resp.Chunked {
		if resp.ContentLength < 0 {
			return errNoLength
		}
		// Head and as much of the body as is here in one write.
		_, err := ur.Body(resp, true, func(p []byte) error {
			b = append(b, p...)
			if len(b) < 16<<10 && len(b) < len(resp.Raw)+int(resp.ContentLength) {
				return nil
			}
			_, err := c.Write(b)
			b = b[:0]
			return err
		})
		if err == nil && len(b) > 0 {
			_, err = c.Write(b)
		}
		*out = b
		return err
	}
	_, err := ur.Body(resp, true, func(p []byte) error {
		b = strconv.AppendInt(b, int64(len(p)), 16)
		b = append(b, "\r\n"...)
		b = append(b, p...)
		b = append(b, "\r\n"...)
		if ur.Buffered() > 16 && len(b) < 16<<10 {
			return nil
		}
		_, err := c.Write(b)
		b = b[:0]
		return err
	})
	if err == nil {
		b = append(b, "0\r\n\r\n"...)
		_, err = c.Write(b)
	}
	*out = b
	return err
}
