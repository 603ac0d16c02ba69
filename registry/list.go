package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"sync"

	"github.com/go-json-experiment/json/v1"
)

const (
	pageSize = "1000" // the most that Azure gives; most others cap it themselves
	// maxPages ends a list that would never end by itself.
	maxPages = 100_000
	// maxListed bounds the memory of whoever collects a list. It is many times
	// what the largest registries hold.
	maxListed = 2_000_000
)

// Repositories lists the names of all repositories in the registry's order.
//
// This and the other listings yield an error in place of the entry where they
// cannot go on, and never end early without one. Entries whose names are
// outside the protocol's grammar cannot be asked for nor be file names; they
// are skipped, with one Warn per listing.
func (c *Client) Repositories(ctx context.Context) iter.Seq2[string, error] {
	return inDialect(ctx, c, "list repositories", dialect.repositories)
}

// Tags lists the tags of a repository; ErrNotFound when there is none of that
// name. On plain OCI registries an entry has no properties.
func (c *Client) Tags(ctx context.Context, repo string, opt ListOptions) iter.Seq2[Tag, error] {
	return inRepository(ctx, c, "list tags of ", repo, opt, dialect.tags)
}

// Manifests lists the manifests of a repository in the registry's order.
//
// Plain OCI registries cannot list them: there it is the manifests behind the
// tags and the children of their indexes, each once and an index before what
// it points to, collected before the first is yielded.
func (c *Client) Manifests(ctx context.Context, repo string, opt ListOptions) iter.Seq2[Properties, error] {
	return inRepository(ctx, c, "list manifests of ", repo, opt, dialect.manifests)
}

// inDialect runs a listing in the registry's dialect, which may have to be
// found first.
func inDialect[T any](ctx context.Context, c *Client, op string, list func(dialect, context.Context) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		d, err := c.dialect(ctx, op, false)
		if err != nil {
			var zero T
			yield(zero, err)
			return
		}
		list(d, ctx)(yield)
	}
}

func inRepository[T any](ctx context.Context, c *Client, verb, repo string, opt ListOptions,
	list func(dialect, context.Context, string, ListOptions) iter.Seq2[T, error]) iter.Seq2[T, error] {
	op := verb + clean(repo, maxRepository)
	if err := (Ref{Repository: repo, Digest: opt.Digest}).check(op); err != nil {
		return failed[T](err)
	}
	return inDialect(ctx, c, op, func(d dialect, ctx context.Context) iter.Seq2[T, error] {
		return list(d, ctx, repo, opt)
	})
}

func failed[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		yield(zero, err)
	}
}

// page is one answer of a list. next is nil on the last.
type page[T any] struct {
	entries []T
	skipped skipped
	next    *call
	err     error
}

// pages walks a list from its first page. decode gives the entries of a page,
// and how many it had to skip with the first such name. While the caller
// consumes a page the next one is fetched, never more.
func pages[T any](ctx context.Context, c *Client, first call, decode func([]byte) ([]T, skipped, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var ahead sync.WaitGroup
		defer ahead.Wait()
		defer cancel()

		seen := map[string]bool{first.url.String(): true}
		listed := 0
		var skip skipped
		defer func() { skip.warn(c, first.op) }()
		var zero T
		current := readPage(ctx, c, first, decode)
		if wantsSmallerPages(current.err) {
			current = readPage(ctx, c, first.withoutPageSize(), decode)
		}
		for {
			skip.add(current.skipped)
			if current.err != nil {
				yield(zero, current.err)
				return
			}
			if listed += len(current.entries) + current.skipped.count; listed > maxListed {
				yield(zero, broken(first.op, fmt.Sprintf("%d entries so far; no list may have more than %d", listed, maxListed)))
				return
			}
			var next chan page[T]
			if k := current.next; k != nil {
				if seen[k.url.String()] || len(seen) >= maxPages {
					yield(zero, broken(first.op, "the list of pages goes in circles"))
					return
				}
				seen[k.url.String()] = true
				next = make(chan page[T], 1)
				ahead.Go(func() { next <- readPage(ctx, c, *k, decode) })
			}
			for _, entry := range current.entries {
				if !yield(entry, nil) {
					return
				}
			}
			if next == nil {
				return
			}
			current = <-next
		}
	}
}

func readPage[T any](ctx context.Context, c *Client, k call, decode func([]byte) ([]T, skipped, error)) (p page[T]) {
	a, err := c.want(ctx, k)
	if err != nil {
		return page[T]{err: err}
	}
	p.entries, p.skipped, err = decode(a.body)
	if len(p.entries) == 0 && holdsErrors(a.body) {
		return page[T]{err: broken(k.op, "an error in an answer of success: "+clean(string(a.body), 256))}
	}
	if err != nil {
		return page[T]{err: &Error{Op: k.op, Message: "the answer cannot be read", Kind: ErrUnavailable, Err: err}}
	}
	link := nextLink(a.header.Values("Link"))
	if link == "" {
		return p
	}
	// Against the address that was asked, not one it may have been redirected
	// to: the next page needs our token again.
	next, problem := resolveNext(k.url, link)
	if problem != "" {
		return page[T]{err: broken(k.op, problem)}
	}
	k.url = next
	p.next = &k
	return p
}

// wantsSmallerPages: the catalog of distribution's registry takes no number above
// the one it is configured with (catalog.maxentries), and does not say which.
func wantsSmallerPages(err error) bool {
	var ours *Error
	return errors.As(err, &ours) && ours.Status == http.StatusBadRequest && ours.Code == "PAGINATION_NUMBER_INVALID"
}

// withoutPageSize is the call for a page as long as the registry likes.
func (k call) withoutPageSize() call {
	u := *k.url
	q := u.Query()
	q.Del("n")
	u.RawQuery = q.Encode()
	k.url = &u
	return k
}

// holdsErrors reports whether a body tells of errors in the protocol's way. As a
// list it would be empty, and whoever mirrors it would delete everything.
func holdsErrors(body []byte) bool {
	var answer struct {
		Errors []json.RawMessage `json:"errors"`
	}
	return json.Unmarshal(body, &answer) == nil && len(answer.Errors) > 0
}

// errNoList is the cause of an answer that is about something else.
var errNoList = errors.New("it holds no list")

// holdsList reports whether a body without entries is an empty list of this name:
// null, as Go writes one, or left out of an object that is about nothing else, as
// Azure's SDKs expect. Whoever mirrors an empty list deletes everything.
func holdsList(body []byte, name string) bool {
	fields := fieldsOf(body)
	if _, ok := fields[name]; ok || fields == nil {
		return ok
	}
	for field := range fields {
		if !slices.Contains([]string{"registry", "imageName", "name"}, field) {
			return false
		}
	}
	return true
}

// fieldsOf are those of a body that is an object, and nil of any other.
func fieldsOf(body []byte) (fields map[string]json.RawMessage) {
	if json.Unmarshal(body, &fields) != nil {
		return nil
	}
	return fields
}

// skipped counts the entries of a list that have an impossible name.
type skipped struct {
	count int
	name  string // the first of them
}

func (s *skipped) add(other skipped) {
	if s.count == 0 {
		s.name = other.name
	}
	s.count += other.count
}

func (s *skipped) note(name string) { s.add(skipped{1, name}) }

func (s *skipped) warn(c *Client, op string) {
	if s.count > 0 {
		c.log.Warn("impossible names skipped", "operation", op, "count", s.count, "first", clean(s.name, 128))
	}
}

// repositoryList is a catalog's body, the same in both dialects.
type repositoryList struct {
	Repositories []string `json:"repositories"`
}

func decodeRepositories(body []byte) ([]string, skipped, error) {
	var list repositoryList
	var skip skipped
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, skip, err
	}
	if list.Repositories == nil && !holdsList(body, "repositories") {
		return nil, skip, errNoList
	}
	names := list.Repositories[:0]
	for _, name := range list.Repositories {
		if !ValidRepository(name) {
			skip.note(name)
			continue
		}
		names = append(names, name)
	}
	return names, skip, nil
}

// listCall is the first page of a list.
func (c *Client) listCall(op, path, scope string, query map[string]string) call {
	k := c.call(op, http.MethodGet, path, scope)
	q := k.url.Query()
	q.Set("n", pageSize)
	for name, value := range query {
		if value != "" {
			q.Set(name, value)
		}
	}
	k.url.RawQuery = q.Encode()
	return k.with("Accept", "application/json")
}
