package sqlstore

import "context"

// Sealing is how a database keeps its upstream keys.
type Sealing struct {
	Encrypted bool // they are encrypted
	HasKeys   bool // there are any
	Fits      bool // the database can be opened with the encryption key that was given
}

// Inspect tells how the database at path keeps upstream keys and whether an
// encryption key, nil for none, fits. It changes nothing, and other processes
// may have the database open.
func Inspect(ctx context.Context, path string, key []byte) (Sealing, error) {
	return InspectDatabase(ctx, Options{Path: path, EncryptionKey: key})
}

// InspectDatabase is Inspect for any database, with the key in its options.
func InspectDatabase(ctx context.Context, o Options) (Sealing, error) {
	s, err := New(o)
	if err != nil {
		return Sealing{}, err
	}
	const did = "look into the store"
	if err := s.dialect.mustBeThere(did); err != nil {
		return Sealing{}, err
	}
	var found Sealing
	err = s.look(ctx, func(mark string, hasKeys bool) error {
		found = Sealing{Encrypted: mark != "", HasKeys: hasKeys, Fits: s.fits(mark, hasKeys) == nil}
		return nil
	})
	return found, s.dialect.fault(did, err)
}
