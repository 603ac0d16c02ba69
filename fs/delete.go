package fs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/registry"
)

// How old an answer about a tag may be that a deletion relies on: someone may
// have pushed the tag anew, and then it is not the one that was to go.
const tagTrust = time.Second

// deletion is one removal on the registry, with what has to be checked before
// and noted after it.
type deletion struct {
	action string
	ref    registry.Ref
	blob   bool // ref.Digest is a blob
	along  bool // it may go with another that is gone: not to find it is no failure
	check  func(context.Context) error
	done   func(context.Context)
}

// remove does a deletion: permitted, within the budget, checked, written down,
// sent, noted. It goes on when its caller leaves, so that its outcome is noted
// in any case; the same deletion asked for twice at a time is sent once.
func (t *tree) remove(ctx context.Context, d deletion) error {
	line := t.audit.entry(ctx, d.action, d.ref.String())
	_, err := t.deletions.do(ctx, d.action+" "+d.ref.String(), func(ctx context.Context) (struct{}, error) {
		outcome, err := t.removeNow(ctx, d, line)
		return struct{}{}, t.audit.end(line, outcome, err)
	})
	return err
}

func (t *tree) removeNow(ctx context.Context, d deletion, line auditLine) (outcome string, err error) {
	if err := t.permit(d.ref.Repository); err != nil {
		return outcomeRefused, err
	}
	if t.writable.DryRun && !d.blob {
		if err := t.repository(d.ref.Repository).repositoryLock(ctx, d.ref); err != nil {
			return outcomeRefused, err
		}
	}
	if d.check != nil {
		if err := d.check(ctx); err != nil {
			if errors.Is(err, errNotFound) {
				d.done(ctx) // gone all the same, though not by us
			}
			return outcomeRefused, err
		}
	}
	if !t.budget.take() {
		return outcomeRefused, errMaximum
	}
	if t.writable.DryRun {
		d.done(ctx)
		return outcomeDryRun, nil
	}
	if err := t.audit.begin(line); err != nil {
		t.budget.release()
		return outcomeRefused, err
	}
	if d.blob {
		err = t.registry.DeleteBlob(ctx, d.ref.Repository, d.ref.Digest)
	} else {
		err = t.registry.Delete(ctx, d.ref)
	}
	if err != nil {
		t.budget.release()
		if errors.Is(err, errNotFound) {
			d.done(ctx)
			if d.along {
				return outcomeDone, nil
			}
		}
		return outcomeFailed, t.repository(d.ref.Repository).explain(ctx, d.ref, err)
	}
	d.done(ctx)
	return outcomeDone, nil
}

// rmdir answers the removal of an artifact's directory.
func (t *tree) rmdir(ctx context.Context, action string, ref registry.Ref, where string, remove func(ctx context.Context, where string) error) syscall.Errno {
	ctx, done := t.opContext(ctx)
	defer done()
	err := t.permittedDeletion(ctx, action, ref)
	if err == nil {
		err = remove(ctx, where)
	}
	t.hidden.of(where).restore() // removed or refused, nothing of it is hidden now
	if err != nil {
		return t.fail("rmdir", where, cause(ctx, err))
	}
	return 0
}

// deleteTag deletes a tag that still points to the digest; the manifest stays.
func (r *repository) deleteTag(ctx context.Context, e tagEntry, at time.Time) error {
	return r.t.remove(ctx, deletion{
		action: "delete tag",
		ref:    registry.Ref{Repository: r.name, Tag: e.name},
		check: func(ctx context.Context) error {
			if time.Since(at) > tagTrust {
				now, _, err := r.tagSince(ctx, e.name, time.Now().Add(-tagTrust))
				if err != nil {
					return err
				}
				if now.digest != e.digest || now.updated != e.updated {
					r.tags.drop() // it is outdated, and the next try is to be for the tag as it is
					return fmt.Errorf("%w: the tag was pushed again, and points to %s now", errNotEmpty, now.digest)
				}
			}
			return e.lockError(registry.Ref{Repository: r.name, Tag: e.name})
		},
		done: func(context.Context) {
			r.changedTags.remove(e.name, e.updated)
			r.forgetPoints(e.digest, e.name)
			r.forgetCounts()
		},
	})
}

// deleteManifest deletes a manifest and with it every tag on it. One that went
// with its subject is deleted already.
func (r *repository) deleteManifest(ctx context.Context, e manifestEntry) error {
	along := r.subjectWent(ctx, e.digest)
	if along && r.wentWithSubject(ctx, e) {
		return nil
	}
	// As they were before: by the time that the answer is here, someone may have
	// pushed them again.
	var tags *snapshot[tagList]
	var begun time.Time
	return r.t.remove(ctx, deletion{
		action: "delete manifest",
		ref:    registry.Ref{Repository: r.name, Digest: e.digest},
		along:  along,
		check: func(ctx context.Context) error {
			tags, begun = r.tags.last(), time.Now()
			if err := e.lockError(registry.Ref{Repository: r.name, Digest: e.digest}); err != nil {
				return err
			}
			if err := r.lockedTag(ctx, e.digest, e.tags, begun.Add(-liveTrust)); err != nil {
				return err
			}
			s, known, err := r.relatedNow(ctx)
			if err != nil {
				return err
			}
			if err := r.lockedWithout(ctx, s, e); err != nil {
				return err
			}
			if r.t.writable.AllowOrphaning {
				return known.lockedReferrer(e.digest)
			}
			why, err := r.neededBy(ctx, s, known, e.digest)
			if err == nil && why != "" {
				err = fmt.Errorf("%w: %s", errNeeded, why)
			}
			return err
		},
		done: func(ctx context.Context) { r.noteManifestGone(ctx, e, tags, begun) },
	})
}

// noteManifestGone notes a deletion of ours and what it took along: the tags on
// the manifest, as they were listed when it was begun, and, with the last
// manifest, the repository.
func (r *repository) noteManifestGone(ctx context.Context, e manifestEntry, tags *snapshot[tagList], begun time.Time) {
	r.changedManifests.remove(e.digest.String(), e.updated)
	r.forgetPoints(e.digest, e.tags...)
	if e.access&accessKnown != 0 {
		// Registries that keep properties take referrers along. In a dry run
		// nothing went, and nothing has to be asked.
		if !r.t.writable.DryRun {
			r.manifestDeleted.Store(time.Now().UnixNano())
		}
	}
	for _, tag := range e.tags {
		r.changedTags.takeAlong(tag, lastUpdate(tag, tags, max(e.updated, begun.UnixNano())))
	}
	if s := r.tags.last(); s != nil && s.value.withoutDigests() && !r.t.writable.DryRun {
		r.tags.drop() // it does not tell which of them went
	} else if tags != nil {
		for _, tag := range tags.value {
			if tag.digest == e.digest {
				r.changedTags.takeAlong(tag.name, tag.updated)
				r.forgetPoints(e.digest, tag.name)
			}
		}
	}
	r.forgetCounts()
	r.noteIfLast(ctx, e.facts)
}

// noteIfLast notes that the repository went with a manifest if that was the last.
// Registries that keep properties drop a repository with its last manifest, which
// need not be the last that is listed; others keep it, empty.
func (r *repository) noteIfLast(ctx context.Context, f facts) {
	if s := r.manifests.last(); f.access&accessKnown != 0 && s != nil && r.nothingListedBut(s, "") && r.wentAlong(ctx) {
		r.t.noteRepositoryGone(r.name, (*changes).takeAlong)
	}
}

// nothingListedBut tells whether all manifests of a listing are gone, other than
// one.
func (r *repository) nothingListedBut(s *snapshot[*manifestList], d digest.Digest) bool {
	if r.changedManifests.len()+1 < len(s.value.entries) {
		return false // some others have not even changed; a look at all, each time, would be too many
	}
	for _, e := range slices.Backward(s.value.entries) { // whoever removes them all begins at the front
		if _, _, err := r.visibleManifest(e, s.at); err == nil && e.digest != d {
			return false
		}
	}
	return true
}

// lastUpdate is that of a tag in a listing that may be nil, or instead when the
// tag is not in it.
func lastUpdate(tag string, tags *snapshot[tagList], instead int64) int64 {
	if tags != nil {
		if t, ok := tags.value.find(tag); ok {
			return t.updated
		}
	}
	return instead
}

// deleteRepository deletes a repository that was found to be empty.
func (r *repository) deleteRepository(ctx context.Context) error {
	return r.t.remove(ctx, deletion{
		action: "delete repository",
		ref:    registry.Ref{Repository: r.name},
		done: func(context.Context) {
			r.t.noteRepositoryGone(r.name, (*changes).remove)
			r.forgetCounts()
		},
	})
}

// deleteBlob deletes a blob of the repository.
func (r *repository) deleteBlob(ctx context.Context, d digest.Digest) error {
	return r.t.remove(ctx, deletion{
		action: "delete blob",
		ref:    registry.Ref{Repository: r.name, Digest: d},
		blob:   true,
		check: func(context.Context) error {
			if !r.t.writable.AllowBlobDelete {
				return errBlobs
			}
			return nil
		},
		done: func(context.Context) {
			r.t.sizes.Remove(blobKey{r.name, d})
			if r.t.writable.DryRun {
				r.changedBlobs.remove(d.String(), 0) // the registry would still have it
			}
		},
	})
}

// forgetPoints forgets what was learned of a manifest and of tags on it by
// themselves: it may be believed for longer than their deletion is remembered.
func (r *repository) forgetPoints(d digest.Digest, tags ...string) {
	r.t.points.Remove(registry.Ref{Repository: r.name, Digest: d})
	for _, tag := range tags {
		r.t.points.Remove(registry.Ref{Repository: r.name, Tag: tag})
	}
}

// forgetCounts forgets what was learned of the repository itself, whose counts
// have changed.
func (r *repository) forgetCounts() {
	if r.t.writable.DryRun {
		return // they have not
	}
	r.t.points.Remove(registry.Ref{Repository: r.name})
}
