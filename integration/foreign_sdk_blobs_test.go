package integration

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	acr "github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestForeignSDKBlobs does everything that the blob client can.
func TestForeignSDKBlobs(t *testing.T) {
	s := newLocalACR(t)
	client := next(t, func() (*acr.BlobClient, error) { return acr.NewBlobClient(s.url, nil, nil) })
	blob, ctx := fixture.Noise(50, 7<<20), t.Context()
	content, d := blob.ReadAll(), blob.Digest.String()
	if err := sdkUpload(ctx, client, "from", blob); err != nil {
		t.Fatal(err)
	}
	exists := next(t, func() (acr.BlobClientCheckBlobExistsResponse, error) {
		return client.CheckBlobExists(ctx, "from", d, nil)
	})
	if *exists.ContentLength != blob.Size || *exists.DockerContentDigest != d {
		t.Errorf("exists: %d bytes, %s", *exists.ContentLength, *exists.DockerContentDigest)
	}
	if _, err := client.CheckChunkExists(ctx, "from", d, "bytes=0-99", nil); err != nil {
		t.Error(err)
	}
	whole := next(t, func() (acr.BlobClientGetBlobResponse, error) { return client.GetBlob(ctx, "from", d, nil) })
	got, err := io.ReadAll(whole.BlobData)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("blob: %d bytes, %v", len(got), err)
	}
	whole.BlobData.Close()
	chunk := next(t, func() (acr.BlobClientGetChunkResponse, error) {
		return client.GetChunk(ctx, "from", d, "bytes=1000-1999", nil)
	})
	got, err = io.ReadAll(chunk.ChunkData)
	if err != nil || !bytes.Equal(got, content[1000:2000]) || *chunk.ContentRange != fmt.Sprintf("bytes 1000-1999/%d", blob.Size) {
		t.Errorf("chunk: %d bytes, %s, %v", len(got), *chunk.ContentRange, err)
	}
	chunk.ChunkData.Close()

	mounted := next(t, func() (acr.BlobClientMountBlobResponse, error) { return client.MountBlob(ctx, "to", "from", d, nil) })
	if *mounted.DockerContentDigest != d {
		t.Errorf("mounted %s, want %s", *mounted.DockerContentDigest, d)
	}
	if _, err := client.DeleteBlob(ctx, "from", d, nil); err != nil {
		t.Error(err)
	}
	_, err = client.CheckBlobExists(ctx, "from", d, nil)
	checkResponse(t, "a deleted blob", err, http.StatusNotFound)
	if _, err := client.CheckBlobExists(ctx, "to", d, nil); err != nil {
		t.Errorf("the blob that was mounted elsewhere: %v", err)
	}
}

// TestForeignSDKUploadSessions asks for status, sends wrong ranges, cancels.
func TestForeignSDKUploadSessions(t *testing.T) {
	s := newLocalACR(t)
	client, ctx := next(t, func() (*acr.BlobClient, error) { return acr.NewBlobClient(s.url, nil, nil) }), t.Context()
	started := next(t, func() (acr.BlobClientStartUploadResponse, error) { return client.StartUpload(ctx, "app", nil) })
	sum, first := acr.NewBlobDigestCalculator(), []byte("the first chunk")
	chunk := next(t, func() (acr.BlobClientUploadChunkResponse, error) {
		return client.UploadChunk(ctx, *started.Location, bytes.NewReader(first), sum, nil)
	})
	status := next(t, func() (acr.BlobClientGetUploadStatusResponse, error) {
		return client.GetUploadStatus(ctx, *chunk.Location, nil)
	})
	if want := fmt.Sprintf("0-%d", len(first)-1); *status.Range != want {
		t.Errorf("status: range %s, want %s", *status.Range, want)
	}
	// A gap is refused, and the session survives that.
	start, end := int32(100), int32(104)
	_, err := client.UploadChunk(ctx, *chunk.Location, bytes.NewReader([]byte("after")), acr.NewBlobDigestCalculator(),
		&acr.BlobClientUploadChunkOptions{RangeStart: &start, RangeEnd: &end})
	checkResponse(t, "a chunk after a gap", err, http.StatusRequestedRangeNotSatisfiable)
	done := next(t, func() (acr.BlobClientCompleteUploadResponse, error) {
		return client.CompleteUpload(ctx, *chunk.Location, sum, nil)
	})
	if want := fixture.Bytes(first).Digest.String(); *done.DockerContentDigest != want {
		t.Errorf("completed %s, want %s", *done.DockerContentDigest, want)
	}

	cancelled := next(t, func() (acr.BlobClientStartUploadResponse, error) { return client.StartUpload(ctx, "app", nil) })
	if _, err := client.CancelUpload(ctx, *cancelled.Location, nil); err != nil {
		t.Error(err)
	}
	_, err = client.GetUploadStatus(ctx, *cancelled.Location, nil)
	checkResponse(t, "a cancelled upload", err, http.StatusNotFound)

	// Nothing is stored under a digest that is not its own.
	wrong := next(t, func() (acr.BlobClientStartUploadResponse, error) { return client.StartUpload(ctx, "app", nil) })
	sent := next(t, func() (acr.BlobClientUploadChunkResponse, error) {
		return client.UploadChunk(ctx, *wrong.Location, bytes.NewReader(first), acr.NewBlobDigestCalculator(), nil)
	})
	_, err = client.CompleteUpload(ctx, *sent.Location, acr.NewBlobDigestCalculator(), nil)
	checkResponse(t, "an upload with a wrong digest", err, http.StatusBadRequest)
}

// TestForeignSDKExchangesTokens goes through the login of an Entra user, with
// a token that anyone could have issued: in open mode only its shape counts.
func TestForeignSDKExchangesTokens(t *testing.T) {
	s := newLocalACR(t)
	push(t, s, "app", "v1", fixture.Chart("1"))
	client := next(t, func() (*acr.AuthenticationClient, error) { return acr.NewAuthenticationClient(s.url, nil) })
	ctx, service := t.Context(), s.host()
	entra := unsignedJWT(fmt.Sprintf(`{"aud":"https://containerregistry.azure.net","exp":%d,"tid":"tenant","oid":"someone"}`, time.Now().Add(time.Hour).Unix()))
	refresh := next(t, func() (acr.AuthenticationClientExchangeAADAccessTokenForACRRefreshTokenResponse, error) {
		return client.ExchangeAADAccessTokenForACRRefreshToken(ctx, acr.PostContentSchemaGrantTypeAccessToken, service,
			&acr.AuthenticationClientExchangeAADAccessTokenForACRRefreshTokenOptions{AccessToken: &entra})
	})
	grant := acr.TokenGrantTypeRefreshToken
	access := next(t, func() (acr.AuthenticationClientExchangeACRRefreshTokenForACRAccessTokenResponse, error) {
		return client.ExchangeACRRefreshTokenForACRAccessToken(ctx, service, "repository:app:metadata_read", *refresh.RefreshToken,
			&acr.AuthenticationClientExchangeACRRefreshTokenForACRAccessTokenOptions{GrantType: &grant})
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/acr/v1/app", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+*access.AccessToken)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("with the token for it, the repository answers %s", answer.Status)
	}
	expired := unsignedJWT(fmt.Sprintf(`{"aud":"https://containerregistry.azure.net","exp":%d}`, time.Now().Add(-time.Hour).Unix()))
	_, err = client.ExchangeAADAccessTokenForACRRefreshToken(ctx, acr.PostContentSchemaGrantTypeAccessToken, service,
		&acr.AuthenticationClientExchangeAADAccessTokenForACRRefreshTokenOptions{AccessToken: &expired})
	checkResponse(t, "an expired token", err, http.StatusUnauthorized)
}

func unsignedJWT(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte("signature"))
}
