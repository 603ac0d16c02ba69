package localacr

import (
	"net/http"
	"strings"
)

// kind sorts operations by what they do to the registry.
type kind int

const (
	reading kind = iota
	writing
	deleting
	login
)

// operation is what becomes of a request: the access it needs (nil for none at
// all) and who answers it.
type operation struct {
	kind  kind
	needs func(*exchange) []access
	serve func(*exchange) error
}

// operations is the registry's API. A method that is missing here is a 405, see
// otherMethods.
var operations = map[Operation]operation{
	{http.MethodGet, EndpointPing}:  {reading, nothing, (*exchange).ping},
	{http.MethodHead, EndpointPing}: {reading, nothing, (*exchange).ping},

	{http.MethodGet, EndpointCatalog}:       {reading, catalog, (*exchange).listRepositories},
	{http.MethodGet, EndpointRepository}:    {reading, metadataRead, (*exchange).getRepository},
	{http.MethodPatch, EndpointRepository}:  {writing, metadataWrite, (*exchange).patchRepository},
	{http.MethodDelete, EndpointRepository}: {deleting, remove, (*exchange).deleteRepository},

	{http.MethodGet, EndpointTags}:     {reading, metadataRead, (*exchange).listTags},
	{http.MethodGet, EndpointTagsList}: {reading, pull, (*exchange).listTagNames},
	{http.MethodGet, EndpointTag}:      {reading, metadataRead, (*exchange).getTag},
	{http.MethodPatch, EndpointTag}:    {writing, metadataWrite, (*exchange).patchTag},
	{http.MethodDelete, EndpointTag}:   {deleting, remove, (*exchange).deleteTag},

	{http.MethodGet, EndpointManifests}:    {reading, metadataRead, (*exchange).listManifests},
	{http.MethodGet, EndpointProperties}:   {reading, metadataRead, (*exchange).getProperties},
	{http.MethodPatch, EndpointProperties}: {writing, metadataWrite, (*exchange).patchProperties},

	{http.MethodGet, EndpointManifest}:    {reading, pull, (*exchange).getManifest},
	{http.MethodHead, EndpointManifest}:   {reading, pull, (*exchange).getManifest},
	{http.MethodPut, EndpointManifest}:    {writing, push, (*exchange).putManifest},
	{http.MethodDelete, EndpointManifest}: {deleting, remove, (*exchange).deleteManifest},
	{http.MethodGet, EndpointReferrers}:   {reading, pull, (*exchange).listReferrers},

	{http.MethodGet, EndpointBlob}:    {reading, pull, (*exchange).getBlob},
	{http.MethodHead, EndpointBlob}:   {reading, pull, (*exchange).headBlob},
	{http.MethodDelete, EndpointBlob}: {deleting, remove, (*exchange).deleteBlob},

	{http.MethodPost, EndpointUploads}:  {writing, pushOrMount, (*exchange).startUpload},
	{http.MethodPatch, EndpointUpload}:  {writing, push, (*exchange).appendUpload},
	{http.MethodPut, EndpointUpload}:    {writing, push, (*exchange).finishUpload},
	{http.MethodGet, EndpointUpload}:    {reading, push, (*exchange).statusUpload},
	{http.MethodDelete, EndpointUpload}: {deleting, remove, (*exchange).cancelUpload},

	{http.MethodGet, EndpointDeleted}:  {reading, deletedRead, (*exchange).listDeleted},
	{http.MethodPost, EndpointDeleted}: {writing, deletedRestore, (*exchange).restoreDeleted},

	{http.MethodPost, EndpointExchange}: {login, nil, (*exchange).exchangeToken},
	{http.MethodPost, EndpointToken}:    {login, nil, (*exchange).issueToken},
	{http.MethodGet, EndpointToken}:     {login, nil, (*exchange).issueToken},

	{http.MethodGet, EndpointStorage}:  {reading, nil, (*exchange).getStorage},
	{http.MethodHead, EndpointStorage}: {reading, nil, (*exchange).getStorage},
}

// otherMethods is what becomes of a method that the endpoint does not have. It
// has to log in like one that is there, and is told which those are, the way of
// distribution.
func otherMethods(e Endpoint) operation {
	var there []string
	var needs func(*exchange) []access
	for _, method := range methods {
		if op, ok := operations[Operation{method, e}]; ok {
			there = append(there, method)
			if needs == nil {
				needs = op.needs
			}
		}
	}
	return operation{reading, needs, func(x *exchange) error {
		x.w.Header().Set("Allow", strings.Join(there, ", "))
		if x.r.Method == http.MethodOptions {
			return x.empty(http.StatusOK)
		}
		return x.body(http.StatusMethodNotAllowed, "text/plain; charset=utf-8", []byte("Method not allowed\n"))
	}}
}

// What operations need of a token, as on ACR.

func nothing(*exchange) []access { return nil }
func catalog(*exchange) []access { return []access{{"registry", "catalog", []string{"*"}}} }

func (x *exchange) inRepository(actions ...string) []access {
	return []access{{"repository", x.name, actions}}
}

func metadataRead(x *exchange) []access  { return x.inRepository("metadata_read") }
func metadataWrite(x *exchange) []access { return x.inRepository("metadata_write") }
func remove(x *exchange) []access        { return x.inRepository("delete") }
func pull(x *exchange) []access          { return x.inRepository("pull") }
func push(x *exchange) []access          { return x.inRepository("pull", "push") }

// pushOrMount adds the pull of the repository that a blob is mounted from.
func pushOrMount(x *exchange) []access {
	need := push(x)
	from := x.query.Get("from")
	if x.query.Get("mount") == "" || !validRepository(from) || from == x.name {
		return need
	}
	other := access{"repository", from, []string{"pull"}}
	if from < x.name {
		return []access{other, need[0]}
	}
	return append(need, other)
}

func deletedRead(x *exchange) []access {
	if x.name == "" {
		return []access{{"registry", "catalog", []string{"*"}}}
	}
	return x.inRepository("deleted_read")
}

func deletedRestore(x *exchange) []access { return x.inRepository("deleted_restore") }
