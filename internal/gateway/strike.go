package gateway

import "strings"

// secretRun is how many letters and digits in a row no name has that is not a
// secret: client tokens have twice as many, upstream keys as many and more.
const secretRun = 24

// StrikeTokens takes out of foreign text, such as the name of a model or of a
// program, what is a token by all appearances: sk- and, further on in the same
// word, a long run of letters and digits. What clients put into the wrong place
// by mistake must not be shown, least of all in public. Other text is not
// copied.
func StrikeTokens(s string) string {
	for from := 0; ; {
		at := strings.Index(s[from:], "sk-")
		if at < 0 {
			return s
		}
		at += from
		if end, secret := wordFrom(s, at); secret {
			s = s[:at] + "***" + s[end:]
		}
		from = at + len("***")
	}
}

// wordFrom finds the end of the word in which a text goes on, and whether there
// is a long run in it.
func wordFrom(s string, i int) (end int, secret bool) {
	run := 0
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9':
			run++
			secret = secret || run >= secretRun
		case c == '-', c == '_':
			run = 0
		default:
			return i, secret
		}
	}
	return i, secret
}
