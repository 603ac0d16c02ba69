package localacr

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The storage account behind a registry: blobs at signed URLs, where possible on
// another host name, with manners of its own, as with ACR.

// signedLife is how long a signed URL is good for.
const signedLife = 20 * time.Minute

const storagePath = "//docker/registry/v2/blobs/"

// signedURL returns where storage has the blob.
func (x *exchange) signedURL(digest string, now time.Time) string {
	expiry := now.Add(signedLife).UTC().Format(time.RFC3339)
	algorithm, hex, _ := strings.Cut(digest, ":")
	protocols := "https"
	if x.r.TLS == nil {
		protocols = "https,http"
	}
	host := x.storageHost()
	apart := !strings.EqualFold(hostOnly(host), hostOnly(x.r.Host))
	return x.scheme() + "://" + host + "/" + x.id + "-" + x.id[:2] +
		storagePath + algorithm + "/" + hex[:2] + "/" + hex + "/data" +
		"?se=" + url.QueryEscape(expiry) + "&sig=" + url.QueryEscape(x.signature(digest, expiry, apart)) +
		"&sp=r&spr=" + url.QueryEscape(protocols) + "&sr=b&sv=2016-05-31&regid=" + x.id
}

// signature signs a URL. The two kinds, of storage that has a host name apart
// from the registry's and of storage that has not, are told apart by it.
func (x *exchange) signature(digest, expiry string, apart bool) string {
	mac := hmac.New(sha256.New, x.store.urlKey)
	mac.Write([]byte(digest + "\n" + expiry + "\n" + strconv.FormatBool(apart)))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// storageHost is a host that reaches us. Only 127.0.0.1 has another name that
// surely does, localhost. Not the other way round: there are clients that
// follow nobody from a name to a loopback address, crane among them.
func (x *exchange) storageHost() string {
	if x.cfg.StorageHost != "" {
		return x.cfg.StorageHost
	}
	host, port := splitHost(x.r.Host)
	switch {
	case host != "127.0.0.1":
		return x.r.Host
	case port == "":
		return "localhost"
	}
	return net.JoinHostPort("localhost", port)
}

// splitHost takes a Host header apart; an IPv6 address loses its brackets.
func splitHost(hostport string) (host, port string) {
	if h, p, err := net.SplitHostPort(hostport); err == nil {
		return h, p
	}
	return strings.Trim(hostport, "[]"), ""
}

func hostOnly(hostport string) string {
	host, _ := splitHost(hostport)
	return host
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// parseStorage reads the path of a signed URL.
func parseStorage(path string) (route, bool) {
	_, rest, ok := strings.Cut(path, storagePath)
	if !ok {
		return route{}, false
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 4 || parts[3] != "data" || !validDigest(parts[0]+":"+parts[2]) || !strings.HasPrefix(parts[2], parts[1]) {
		return route{}, false
	}
	return route{endpoint: EndpointStorage, ref: parts[0] + ":" + parts[2]}, true
}

// getStorage serves a signed URL.
func (x *exchange) getStorage() error {
	h := x.w.Header()
	h.Set("Server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0")
	h.Set("X-Ms-Request-Id", newUUID())
	h.Set("X-Ms-Version", "2016-05-31")
	signed, apart := x.signed(time.Now())
	// Clients keep their token for a host of the same name and cannot know
	// better; to any other host it must not go.
	if x.r.Header.Get("Authorization") != "" && (!signed || apart) {
		return x.storageError(http.StatusBadRequest, "InvalidAuthenticationInfo",
			"Authentication information is not given in the correct format. Check the value of Authorization header.")
	}
	if x.fault.ExpiredSignature || !signed {
		return x.storageError(http.StatusForbidden, "AuthenticationFailed",
			"Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.")
	}
	f, info, err := x.openBlob()
	if errors.Is(err, fs.ErrNotExist) {
		return x.storageError(http.StatusNotFound, "BlobNotFound", "The specified blob does not exist.")
	}
	if err != nil {
		return x.storageError(http.StatusInternalServerError, "InternalError", "Server encountered an internal error. Please try again after some time.")
	}
	defer f.Close()
	start, n, status := parseRange(x.r.Header.Get("Range"), info.Size(), false)
	if status == http.StatusRequestedRangeNotSatisfiable {
		h.Set("Content-Range", "bytes */"+strconv.FormatInt(info.Size(), 10))
		return x.storageError(status, "InvalidRange", "The range specified is invalid for the current size of the resource.")
	}
	h.Set("ETag", `"0x`+strings.ToUpper(strconv.FormatInt(info.ModTime().UnixNano(), 16))+`"`)
	h.Set("Last-Modified", info.ModTime().UTC().Format(http.TimeFormat))
	h.Set("X-Ms-Blob-Type", "AppendBlob")
	h.Set("X-Ms-Lease-State", "available")
	h.Set("X-Ms-Lease-Status", "unlocked")
	h.Set("X-Ms-Server-Encrypted", "true")
	return x.sendFile(f, start, n, info.Size(), status)
}

// signed reports whether the request's signature is ours and in time, and
// which kind of URL it signs.
func (x *exchange) signed(now time.Time) (ok, apart bool) {
	expiry := x.query.Get("se")
	end, err := time.Parse(time.RFC3339, expiry)
	if err != nil || !now.Before(end) {
		return false, false
	}
	for _, apart := range []bool{true, false} {
		if hmac.Equal([]byte(x.query.Get("sig")), []byte(x.signature(x.ref, expiry, apart))) {
			return true, apart
		}
	}
	return false, false
}

// storageError answers as storage does, in XML.
func (x *exchange) storageError(status int, code, message string) error {
	h := x.w.Header()
	h.Set("X-Ms-Error-Code", code)
	body, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: code, Message: message + "\nRequestId:" + h.Get("X-Ms-Request-Id") + "\nTime:" + instant().Format(time.RFC3339Nano)})
	if err != nil {
		return err
	}
	return x.body(status, "application/xml", append([]byte("\ufeff"+`<?xml version="1.0" encoding="utf-8"?>`), body...))
}

// storageCode is storage's word for a status that a fault asks for.
func storageCode(status int) string {
	switch status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return "ServerBusy"
	case http.StatusForbidden:
		return "AuthenticationFailed"
	case http.StatusNotFound:
		return "BlobNotFound"
	}
	return "InternalError"
}
