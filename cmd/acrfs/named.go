package main

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/acrfs/acrfs/fs"
	"github.com/acrfs/acrfs/registry"
)

// namedRepositories is a registry that lists the given repositories where it
// does not tell of them: its catalog is forbidden, there is none, or it hides
// those. With a catalog, one that is not there, or not for us, stays out of it.
// Without names the refusal stays what it is: an empty listing would look
// complete, and have rsync --delete empty a backup.
//
// As long as the registry was never reached, its catalog counts as forbidden,
// too: then the tree lets names be walked, and what is cached is found behind
// them.
type namedRepositories struct {
	fs.Registry
	names   []string
	waiting func() bool // the registry was never reached
}

func (n namedRepositories) Repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		began := false
		missing := slices.Clone(n.names)
		for name, err := range n.Registry.Repositories(ctx) {
			hidden := errors.Is(err, registry.ErrDenied) || errors.Is(err, registry.ErrUnsupported)
			if err != nil && !began && !hidden && n.waiting() {
				err = &registry.Error{Op: "list repositories", Message: "not signed in yet: " + oneLine(err), Kind: registry.ErrDenied, Login: true}
			}
			if !began && hidden && len(n.names) > 0 {
				for _, name := range n.names {
					if !yield(name, nil) {
						return
					}
				}
				return
			}
			began = true
			if !yield(name, err) || err != nil {
				return
			}
			missing = slices.DeleteFunc(missing, func(m string) bool { return m == name })
		}
		for _, name := range missing {
			_, err := n.Registry.Properties(ctx, registry.Ref{Repository: name})
			if errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrDenied) {
				continue
			}
			if !yield(name, err) || err != nil {
				return
			}
		}
	}
}
