package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	acr "github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"
	"github.com/google/go-cmp/cmp"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestForeignSDKLists pages through everything with the official client.
func TestForeignSDKLists(t *testing.T) {
	s := newLocalACR(t)
	var digests []string
	for i := range 7 {
		m := fixture.Chart(fmt.Sprint(i))
		push(t, s, "team/app", fmt.Sprintf("v%d", i), m)
		push(t, s, fmt.Sprintf("repo%d", i), "v1", m)
		digests = append(digests, m.Digest.String())
	}
	client, two := sdkClient(t, s), int32(2)

	var repositories []string
	for pager := client.NewListRepositoriesPager(&acr.ClientListRepositoriesOptions{MaxNum: &two}); pager.More(); {
		page := next(t, func() (acr.ClientListRepositoriesResponse, error) { return pager.NextPage(t.Context()) })
		for _, name := range page.Repositories.Names {
			repositories = append(repositories, *name)
		}
	}
	if len(repositories) != 8 || !slices.IsSorted(repositories) {
		t.Errorf("repositories: %q, want 8 in order", repositories)
	}

	tags := func(options acr.ClientListTagsOptions) (names []string) {
		options.MaxNum = &two
		for pager := client.NewListTagsPager("team/app", &options); pager.More(); {
			page := next(t, func() (acr.ClientListTagsResponse, error) { return pager.NextPage(t.Context()) })
			for _, tag := range page.Tags {
				names = append(names, *tag.Name)
			}
		}
		return names
	}
	ascending := []string{"v0", "v1", "v2", "v3", "v4", "v5", "v6"}
	descending := slices.Clone(ascending)
	slices.Reverse(descending)
	oldest, newest := acr.ArtifactTagOrderByLastUpdatedOnAscending, acr.ArtifactTagOrderByLastUpdatedOnDescending
	for _, row := range []struct {
		name    string
		options acr.ClientListTagsOptions
		want    []string
	}{
		{"by name", acr.ClientListTagsOptions{}, ascending},
		{"oldest first", acr.ClientListTagsOptions{OrderBy: &oldest}, ascending},
		{"newest first", acr.ClientListTagsOptions{OrderBy: &newest}, descending},
		{"of one manifest", acr.ClientListTagsOptions{Digest: &digests[3]}, []string{"v3"}},
		{"after v4", acr.ClientListTagsOptions{Last: &ascending[4]}, []string{"v5", "v6"}},
	} {
		if diff := cmp.Diff(row.want, tags(row.options)); diff != "" {
			t.Errorf("tags %s (-want +got):\n%s", row.name, diff)
		}
	}

	manifests := func(order *acr.ArtifactManifestOrderBy) (found []string) {
		options := &acr.ClientListManifestsOptions{MaxNum: &two, OrderBy: order}
		for pager := client.NewListManifestsPager("team/app", options); pager.More(); {
			page := next(t, func() (acr.ClientListManifestsResponse, error) { return pager.NextPage(t.Context()) })
			for _, m := range page.Attributes {
				found = append(found, *m.Digest)
			}
		}
		return found
	}
	newestManifest := acr.ArtifactManifestOrderByLastUpdatedOnDescending
	newestFirst := slices.Clone(digests)
	slices.Reverse(newestFirst)
	if diff := cmp.Diff(newestFirst, manifests(&newestManifest)); diff != "" {
		t.Errorf("manifests, newest first (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(sorted(digests), manifests(nil)); diff != "" {
		t.Errorf("manifests by digest (-want +got):\n%s", diff)
	}
}

// next is an answer that must not be an error.
func next[T any](t *testing.T, call func() (T, error)) T {
	t.Helper()
	answer, err := call()
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestForeignSDKProperties reads and changes the properties of all three
// levels.
func TestForeignSDKProperties(t *testing.T) {
	s := newLocalACR(t)
	index := fixture.ManifestList("1")
	push(t, s, "app", "v1", index)
	client, ctx := sdkClient(t, s), t.Context()

	repository := next(t, func() (acr.ClientGetRepositoryPropertiesResponse, error) {
		return client.GetRepositoryProperties(ctx, "app", nil)
	})
	if *repository.Name != "app" || *repository.ManifestCount != 3 || *repository.TagCount != 1 || repository.CreatedOn.IsZero() {
		t.Errorf("repository: %+v", repository.ContainerRepositoryProperties)
	}
	tag := next(t, func() (acr.ClientGetTagPropertiesResponse, error) {
		return client.GetTagProperties(ctx, "app", "v1", nil)
	})
	if *tag.Tag.Digest != index.Digest.String() || time.Since(*tag.Tag.LastUpdatedOn) > time.Hour {
		t.Errorf("tag: %+v", tag.Tag)
	}
	child := next(t, func() (acr.ClientGetManifestPropertiesResponse, error) {
		return client.GetManifestProperties(ctx, "app", index.Children[1].Digest.String(), nil)
	})
	if *child.Manifest.Architecture != "arm64" || *child.Manifest.OperatingSystem != "linux" || *child.Manifest.ConfigMediaType != fixture.DockerConfig {
		t.Errorf("child: %+v", child.Manifest)
	}
	wantSize := int64(len(index.Children[1].Raw))
	for _, blob := range index.Children[1].Blobs {
		wantSize += blob.Size
	}
	if *child.Manifest.Size != wantSize {
		t.Errorf("child's image size %d, want %d", *child.Manifest.Size, wantSize)
	}
	list := next(t, func() (acr.ClientGetManifestPropertiesResponse, error) {
		return client.GetManifestProperties(ctx, "app", index.Digest.String(), nil)
	})
	if len(list.Manifest.RelatedArtifacts) != 2 {
		t.Errorf("the list refers to %d manifests, want 2", len(list.Manifest.RelatedArtifacts))
	}

	yes, no := true, false
	locked := next(t, func() (acr.ClientUpdateTagPropertiesResponse, error) {
		return client.UpdateTagProperties(ctx, "app", "v1", &acr.ClientUpdateTagPropertiesOptions{Value: &acr.TagWriteableProperties{CanDelete: &no}})
	})
	if flags := locked.Tag.ChangeableAttributes; *flags.CanDelete || !*flags.CanWrite || !*flags.CanList || !*flags.CanRead {
		t.Errorf("after can_delete=false the tag has %+v", flags)
	}
	_, err := client.DeleteTag(ctx, "app", "v1", nil)
	checkResponse(t, "delete a locked tag", err, http.StatusMethodNotAllowed)
	unlocked := next(t, func() (acr.ClientUpdateTagPropertiesResponse, error) {
		return client.UpdateTagProperties(ctx, "app", "v1", &acr.ClientUpdateTagPropertiesOptions{Value: &acr.TagWriteableProperties{CanDelete: &yes}})
	})
	if !*unlocked.Tag.ChangeableAttributes.CanDelete {
		t.Error("the tag stays locked")
	}
	manifest := next(t, func() (acr.ClientUpdateManifestPropertiesResponse, error) {
		return client.UpdateManifestProperties(ctx, "app", index.Digest.String(), &acr.ClientUpdateManifestPropertiesOptions{Value: &acr.ManifestWriteableProperties{CanWrite: &no}})
	})
	if *manifest.Manifest.ChangeableAttributes.CanWrite {
		t.Error("the manifest stays writable")
	}
	_, err = client.DeleteManifest(ctx, "app", index.Digest.String(), nil)
	checkResponse(t, "delete a locked manifest", err, http.StatusMethodNotAllowed)
	changed := next(t, func() (acr.ClientUpdateRepositoryPropertiesResponse, error) {
		return client.UpdateRepositoryProperties(ctx, "app", &acr.ClientUpdateRepositoryPropertiesOptions{Value: &acr.RepositoryWriteableProperties{CanList: &no}})
	})
	if *changed.ChangeableAttributes.CanList {
		t.Error("the repository stays listed")
	}
}

func checkResponse(t *testing.T, what string, err error, want int) {
	t.Helper()
	var refused *azcore.ResponseError
	if !errors.As(err, &refused) || refused.StatusCode != want {
		t.Errorf("%s: %v, want status %d", what, err, want)
	}
}

// TestForeignSDKDeletes deletes on all levels and asks for what is gone.
func TestForeignSDKDeletes(t *testing.T) {
	s := newLocalACR(t)
	chart := fixture.Chart("1")
	push(t, s, "app", "v1", chart)
	push(t, s, "app", "v2", chart)
	push(t, s, "app", "other", fixture.Chart("2"))
	client, ctx := sdkClient(t, s), t.Context()
	if _, err := client.DeleteTag(ctx, "app", "v1", nil); err != nil {
		t.Error(err)
	}
	checkPulled(t, s, "app", "v2", chart)
	_, err := client.GetTagProperties(ctx, "app", "v1", nil)
	checkResponse(t, "a deleted tag", err, http.StatusNotFound)
	if _, err := client.DeleteManifest(ctx, "app", chart.Digest.String(), nil); err != nil {
		t.Error(err)
	}
	_, err = client.GetTagProperties(ctx, "app", "v2", nil)
	checkResponse(t, "a tag of a deleted manifest", err, http.StatusNotFound)
	for range 2 { // the second time there is nothing, which the client takes for success
		if _, err := client.DeleteRepository(ctx, "app", nil); err != nil {
			t.Error(err)
		}
	}
	_, err = client.GetRepositoryProperties(ctx, "app", nil)
	checkResponse(t, "a deleted repository", err, http.StatusNotFound)
}

// TestForeignSDKManifests uploads and downloads manifests by tag and digest.
func TestForeignSDKManifests(t *testing.T) {
	s := newLocalACR(t)
	image := fixture.DockerImage("amd64", "1")
	pushWith(t, pushWithSDK, s, "app", "v1", image)
	client, ctx := sdkClient(t, s), t.Context()
	for _, reference := range []string{"v1", image.Digest.String()} {
		got := next(t, func() (acr.ClientGetManifestResponse, error) {
			return client.GetManifest(ctx, "app", reference, &acr.ClientGetManifestOptions{Accept: &image.MediaType})
		})
		reader := next(t, func() (*acr.DigestValidationReader, error) {
			return acr.NewDigestValidationReader(*got.DockerContentDigest, got.ManifestData)
		})
		body, err := io.ReadAll(reader)
		if err != nil || !bytes.Equal(body, image.Raw) {
			t.Errorf("manifest %s: %q, %v", reference, body, err)
		}
		got.ManifestData.Close()
	}
	_, err := client.GetManifest(ctx, "app", "nothing", nil)
	checkResponse(t, "an unknown manifest", err, http.StatusNotFound)
}
