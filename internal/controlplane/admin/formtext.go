package admin

import (
	"errors"
	"io"
	"iter"
	"mime/multipart"
	"net/http"

	"ollama-api-pool/internal/controlplane/importer"
	"ollama-api-pool/internal/gateway"
)

// formText reads the one file of a form, line by line. Its name and the fields
// beside it, before or after the file, are noted in in.
func formText(form *multipart.Reader, in *inflow) iter.Seq2[importer.Item, error] {
	return func(yield func(importer.Item, error) bool) {
		files := 0
		for {
			part, err := form.NextPart()
			if err == io.EOF { // wrapped, it would mean that the form breaks off
				break
			}
			if err != nil {
				yield(nil, formFault(err))
				return
			}
			if !isFile(part) {
				if err := formField(part, in); err != nil {
					yield(nil, err)
					return
				}
				continue
			}
			if files++; files > 1 {
				yield(nil, gateway.Errorf(gateway.KindInvalid, "the form has more than one file: send one at a time"))
				return
			}
			in.file = part.FileName()
			for item, err := range importer.Lines(part, 0) {
				if !yield(item, err) || err != nil {
					return
				}
			}
		}
		if files == 0 {
			yield(nil, gateway.Errorf(gateway.KindInvalid, "the form has no file"))
		}
	}
}

// isFile reports whether a part of a form is the file. Some senders give it no
// file name.
func isFile(part *multipart.Part) bool {
	return part.FileName() != "" || part.FormName() == "file" || part.FormName() == "content"
}

func formField(part *multipart.Part, in *inflow) error {
	value, err := io.ReadAll(io.LimitReader(part, maxShortText))
	if err != nil {
		return formFault(err)
	}
	in.field(part.FormName(), string(value))
	return nil
}

// formFault keeps of an error what tells whose fault it was. The words of the
// form's reader may repeat what stands in it.
func formFault(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return gateway.Errorf(gateway.KindInvalid, "the body is not a valid form (multipart/form-data); nothing was added")
}
