// Package web holds the sources of the pages: plain ES modules, one
// stylesheet, the words of each language and the vendored libraries. There is
// no step between these files and the browser. The control plane's web package
// serves them.
package web

import "embed"

// Files are the pages and all that they load.
//
//go:embed pages app words style vendor
var Files embed.FS
