package fs

import (
	"slices"
	"strings"
)

// catalog is a snapshot of the registry's repository names as a tree of name
// components: "library/hello-world" makes a component "library" with a child
// "hello-world", which is a repository. A component can be both.
type catalog struct {
	components map[string]*component // by path; "" is the root
}

type component struct {
	repository bool
	children   []string // sorted
}

// newCatalog builds the tree. Names that are no repository names are left out
// by the client; what reaches this only has to be split.
func newCatalog(names []string) *catalog {
	c := &catalog{components: map[string]*component{"": {}}}
	for _, name := range names {
		c.at(name).repository = true
	}
	for _, comp := range c.components {
		slices.Sort(comp.children)
	}
	return c
}

// at returns the component of a path, with all above it, made if need be.
func (c *catalog) at(path string) *component {
	if comp := c.components[path]; comp != nil {
		return comp
	}
	parent, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		parent, name = path[:i], path[i+1:]
	}
	above := c.at(parent)
	above.children = append(above.children, name)
	comp := &component{}
	c.components[path] = comp
	return comp
}

// names are the repositories, in no order.
func (c *catalog) names() []string {
	var names []string
	for path, comp := range c.components {
		if comp.repository {
			names = append(names, path)
		}
	}
	return names
}

// visible is a snapshot of the catalog without the repositories that this mount
// deleted since. It is made once for each of their states.
func (t *tree) visible(s *snapshot[*catalog]) *catalog {
	if t.changedRepositories.empty() {
		return s.value
	}
	version := t.changedRepositories.version()
	if v := t.view.Load(); v != nil && v.of == s && v.version == version {
		return v.catalog
	}
	names := slices.DeleteFunc(s.value.names(), func(name string) bool {
		_, gone := t.changedRepositories.apply(name, s.at, facts{})
		return gone
	})
	c := newCatalog(names)
	t.view.Store(&catalogView{of: s, version: version, catalog: c})
	return c
}

// catalogView is what visible made last.
type catalogView struct {
	of      *snapshot[*catalog]
	version uint64
	catalog *catalog
}

// join is a path below another one, the root being "".
func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "/" + name
}
