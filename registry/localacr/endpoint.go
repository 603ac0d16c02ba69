package localacr

// Endpoint names a group of URLs that mean the same thing, for Faults and for
// Stats.
type Endpoint string

const (
	EndpointPing       Endpoint = "ping"       // /v2/
	EndpointCatalog    Endpoint = "catalog"    // /acr/v1/_catalog and /v2/_catalog
	EndpointRepository Endpoint = "repository" // /acr/v1/NAME
	EndpointTags       Endpoint = "tags"       // /acr/v1/NAME/_tags
	EndpointTag        Endpoint = "tag"        // /acr/v1/NAME/_tags/TAG
	EndpointManifests  Endpoint = "manifests"  // /acr/v1/NAME/_manifests
	EndpointProperties Endpoint = "properties" // /acr/v1/NAME/_manifests/DIGEST
	EndpointTagsList   Endpoint = "tagslist"   // /v2/NAME/tags/list
	EndpointManifest   Endpoint = "manifest"   // /v2/NAME/manifests/REFERENCE
	EndpointBlob       Endpoint = "blob"       // /v2/NAME/blobs/DIGEST
	EndpointUploads    Endpoint = "uploads"    // /v2/NAME/blobs/uploads/
	EndpointUpload     Endpoint = "upload"     // /v2/NAME/blobs/uploads/UUID
	EndpointReferrers  Endpoint = "referrers"  // /v2/NAME/referrers/DIGEST
	EndpointExchange   Endpoint = "exchange"   // /oauth2/exchange
	EndpointToken      Endpoint = "token"      // /oauth2/token
	EndpointStorage    Endpoint = "storage"    // the signed URL of a blob
	EndpointDeleted    Endpoint = "deleted"    // /acr/v1/_deleted/...
	EndpointNone       Endpoint = "none"       // every other URL
)

// endpoints gives each endpoint its row in the request counters.
var endpoints = [...]Endpoint{
	EndpointPing, EndpointCatalog, EndpointRepository, EndpointTags, EndpointTag, EndpointManifests,
	EndpointProperties, EndpointTagsList, EndpointManifest, EndpointBlob, EndpointUploads, EndpointUpload,
	EndpointReferrers, EndpointExchange, EndpointToken, EndpointStorage, EndpointDeleted, EndpointNone,
}
