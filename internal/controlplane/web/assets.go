package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// kinds are the content types, by the end of a name.
var kinds = map[string]string{
	".js":      "text/javascript; charset=utf-8",
	".css":     "text/css; charset=utf-8",
	".svg":     "image/svg+xml",
	".png":     "image/png",
	".json":    "application/json",
	".txt":     "text/plain; charset=utf-8",
	".LICENSE": "text/plain; charset=utf-8",
	"":         "text/plain; charset=utf-8", // LICENSE, SHA256SUMS
}

// readAssets reads everything but the pages, and makes one hash of it: modules
// load each other by relative addresses, so they share the first part.
func readAssets(files fs.FS) (assets map[string]*file, hash string, err error) {
	assets = map[string]*file{}
	all := sha256.New()
	err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name == "pages":
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		kind, known := kinds[path.Ext(name)]
		if !known {
			return fmt.Errorf("%s: no content type is known for this name", name)
		}
		body, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		_, _ = fmt.Fprintf(all, "%s\x00%x\n", name, sum) // a hash takes everything
		assets[name] = newFile(kind, body)
		return nil
	})
	if assets["style/favicon.svg"] == nil && err == nil {
		err = fmt.Errorf("style/favicon.svg: %w", fs.ErrNotExist)
	}
	return assets, hex.EncodeToString(all.Sum(nil)[:8]), err
}

// imported matches a statement with which a module loads another at once, and
// not with import(): import … from "…", import "…" and export … from "…", with a
// relative address.
var imported = regexp.MustCompile(`^(?:import|export)\b\s*(?:[\w$*{},\s]*\bfrom\s*)?["'](\.{1,2}/[^"'\n]+)["']`)

// imports lists the addresses that a module loads at once. Only where a statement
// may begin is looked closely: most of a module is something else.
func imports(body []byte) (found []string) {
	for i := 0; ; {
		n := bytes.Index(body[i:], []byte("port"))
		if n < 0 {
			return found
		}
		begin := i + n - len("im")
		i += n + len("port")
		if begin < 0 {
			continue
		}
		before := bytes.TrimRight(body[:begin], " \t")
		if len(before) > 0 && !bytes.ContainsRune([]byte("\n;}"), rune(before[len(before)-1])) {
			continue
		}
		if m := imported.FindSubmatch(body[begin:]); m != nil {
			found = append(found, string(m[1]))
		}
	}
}

// graph lists the modules that a module loads, each once, those that are found
// first in front. Without them told beforehand a browser would ask for them one
// layer after the other. What is not there is passed over.
func graph(assets map[string]*file, entry string) []string {
	found := []string{entry}
	for i := 0; i < len(found); i++ {
		f := assets[found[i]]
		if f == nil {
			continue
		}
		for _, address := range imports(f.body) {
			to := path.Join(path.Dir(found[i]), address)
			if strings.HasSuffix(to, ".js") && assets[to] != nil && !slices.Contains(found, to) {
				found = append(found, to)
			}
		}
	}
	return found[1:]
}
