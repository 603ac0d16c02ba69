package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/acrfs/acrfs/registry"
)

// authFlags are the flags of mount that say who we are, besides --username and
// --password-stdin.
type authFlags struct {
	auth         choiceValue
	cloud        choiceValue
	audience     string
	startAnyway  bool
	repositories []string
}

func (a *authFlags) bind(flags *pflag.FlagSet) {
	a.auth = choice("auto", "anonymous", "basic", "docker", "entra", "azcli", "workload", "managed", "environment")
	flags.Var(&a.auth, "auth", "which credential to use: auto takes the first of --username, the docker configuration's or podman's, Microsoft Entra's (Azure's registries only), and is anonymous when there is none; docker is docker's and podman's logins; entra is azidentity's default chain, the four after it are its links")
	a.cloud = choice("auto", "public", "china", "usgov")
	flags.Var(&a.cloud, "cloud", "where Microsoft Entra is: auto tells by $AZURE_AUTHORITY_HOST, else by the registry's name")
	flags.StringVar(&a.audience, "audience", "", "the `resource` that Microsoft Entra's tokens are for (default https://containerregistry.azure.net)")
	flags.BoolVar(&a.startAnyway, "allow-unauthenticated-start", false, "mount even if the registry cannot be reached or lets nobody in yet, serve what is cached, and try again in the background (default no)")
	flags.StringArrayVar(&a.repositories, "repository", nil, "list this `repository` where the registry does not tell of it; can be repeated (default none)")
}

// check finds flags that contradict each other. userFlag and passwordStdin tell
// whether --username and --password-stdin were given.
func (a *authFlags) check(userFlag, passwordStdin bool) error {
	for _, name := range a.repositories {
		if !registry.ValidRepository(name) {
			return badFlag("repository", name, "a repository like team/app")
		}
	}
	if a.audience != "" && !strings.Contains(a.audience, "://") {
		return badFlag("audience", a.audience, "a resource like https://containerregistry.azure.net")
	}
	if way := a.auth.chosen; way != "auto" && way != "basic" && (userFlag || passwordStdin) {
		return usagef("--auth %s takes no --username: leave it out, or give --auth basic", way)
	}
	return nil
}

// authEnvironment is what the process inherits that says who we are.
type authEnvironment struct {
	dockerConfig  string   // DOCKER_CONFIG
	podmanFile    string   // REGISTRY_AUTH_FILE
	runtimeDir    string   // XDG_RUNTIME_DIR
	configHome    string   // XDG_CONFIG_HOME
	authorityHost string   // AZURE_AUTHORITY_HOST
	azureClientID string   // AZURE_CLIENT_ID
	azureProof    string   // which of the variables is set that say where an identity's proof is
	azureConfig   string   // AZURE_CONFIG_DIR
	azureChain    string   // AZURE_TOKEN_CREDENTIALS
	userHome      string   // HOME
	sudo          *invoker // of SUDO_UID; nil: not under sudo
}

func readAuthEnvironment() authEnvironment {
	e := authEnvironment{
		dockerConfig:  absolutePath(os.Getenv("DOCKER_CONFIG")),
		podmanFile:    absolutePath(os.Getenv("REGISTRY_AUTH_FILE")),
		runtimeDir:    os.Getenv("XDG_RUNTIME_DIR"),
		configHome:    os.Getenv("XDG_CONFIG_HOME"),
		authorityHost: os.Getenv("AZURE_AUTHORITY_HOST"),
		azureClientID: os.Getenv("AZURE_CLIENT_ID"),
		azureConfig:   os.Getenv("AZURE_CONFIG_DIR"),
		azureChain:    os.Getenv(chainVariable),
		sudo:          invokerOf(os.Getenv("SUDO_UID")),
	}
	for _, name := range []string{"AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE"} {
		if e.azureProof == "" && os.Getenv(name) != "" {
			e.azureProof = name
		}
	}
	e.userHome = homeOfUser()
	return e
}

// homeOfUser is $HOME, or what the system says where that is not set, as for its
// services. It is never the directory that we were started in.
func homeOfUser() string {
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		return home
	}
	if u, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil && filepath.IsAbs(u.HomeDir) {
		return u.HomeDir
	}
	return "/nonexistent" // what systems write for those who have none
}

// absolutePath is path seen from where we were started, which a daemon leaves.
func absolutePath(path string) string {
	if path == "" {
		return ""
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// home is where the logins are: under sudo, those of the user who called it.
func (e authEnvironment) home() string {
	if e.sudo != nil {
		return e.sudo.home
	}
	return e.userHome
}

// dockerFile is the configuration that docker would read.
func (e authEnvironment) dockerFile() string {
	return filepath.Join(absoluteOr(e.dockerConfig, filepath.Join(e.home(), ".docker")), "config.json")
}

// podmanFiles are where podman, skopeo and buildah look for logins, in their
// order; see containers-auth.json(5). REGISTRY_AUTH_FILE stands for all.
func (e authEnvironment) podmanFiles() []string {
	if e.podmanFile != "" {
		return []string{e.podmanFile}
	}
	uid, runtimeDir, configHome := strconv.Itoa(os.Getuid()), e.runtimeDir, e.configHome
	if e.sudo != nil { // what we inherit is root's
		uid, configHome = strconv.FormatUint(uint64(e.sudo.uid), 10), ""
		runtimeDir = filepath.Join("/run/user", uid)
	}
	return []string{
		filepath.Join(absoluteOr(runtimeDir, filepath.Join("/run/user", uid)), "containers", "auth.json"),
		filepath.Join("/run/containers", uid, "auth.json"),
		filepath.Join(absoluteOr(configHome, filepath.Join(e.home(), ".config")), "containers", "auth.json"),
	}
}
