package main

import "regexp"

// everywhere is the value of a bare --writable. No repository is called that.
const everywhere = "*"

// prefixValue is a flag that can be given alone or with a repository.
type prefixValue struct {
	set    bool
	prefix string // "" for every repository
}

var repositoryName = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)

func (p *prefixValue) Set(value string) error {
	switch {
	case value == everywhere:
		value = ""
	case !repositoryName.MatchString(value):
		return errValue
	}
	p.set, p.prefix = true, value
	return nil
}

func (p *prefixValue) String() string {
	if p.set && p.prefix == "" {
		return everywhere
	}
	return p.prefix
}

func (p *prefixValue) Type() string { return "prefix" }

func (p *prefixValue) describe() string {
	if p.prefix == "" {
		return "writable"
	}
	return "writable below " + p.prefix
}
