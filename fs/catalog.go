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
	walkOrder  []string              // the repositories as a walk over the tree meets them
}

type component struct {
	repository bool
	place      int      // of a repository in walkOrder
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
	c.walk("")
	return c
}

// walk appends the repositories from a path down to walkOrder.
func (c *catalog) walk(path string) {
	comp := c.components[path]
	if comp.repository {
		comp.place = len(c.walkOrder)
		c.walkOrder = append(c.walkOrder, path)
	}
	for _, child := range comp.children {
		c.walk(join(path, child))
	}
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

// catalogView is a snapshot of the catalog without the repositories that this
// mount deleted since.
type catalogView struct {
	*catalog
	of      *snapshot[*catalog]
	version uint64 // of the changes that are in it
}

// visible is what a snapshot of the catalog shows now. It is made once for each
// state of the changes. Two calls may have two answers.
func (t *tree) visible(s *snapshot[*catalog]) catalogView {
	version := t.changedRepositories.version()
	if t.changedRepositories.empty() {
		return catalogView{s.value, s, version}
	}
	if v := t.view.Load(); v != nil && v.of == s && v.version == version {
		return *v
	}
	names, version := t.changedRepositories.without(s.value.walkOrder, s.at)
	v := catalogView{newCatalog(names), s, version}
	t.view.Store(&v)
	return v
}

// join is a path below another one, the root being "".
func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "/" + name
}
