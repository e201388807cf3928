// Command kubelet asks for the credentials of an image as the kubelet does, by the kubelet's own code: it reads a
// CredentialProviderConfig, starts the plugins that it names, and gives them the service account's token.
//
// What they answer is printed as a list of JSON objects with username and password.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/credentialprovider/plugin"
)

type credentials struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

func main() {
	config := flag.String("config", "", "the CredentialProviderConfig, a `file`")
	programs := flag.String("bin-dir", "", "the `folder` of the plugins")
	image := flag.String("image", "", "the `image` of a pod")
	token := flag.String("token", "", "the service account's token, a `file`")
	audience := flag.String("audience", "", "whom the token is for: a plugin that wants another gets none")
	flag.Parse()
	if err := ask(*config, *programs, *image, *token, *audience); err != nil {
		fmt.Fprintln(os.Stderr, "kubelet:", err)
		os.Exit(1)
	}
}

func ask(config, programs, image, file, audience string) error {
	token, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	// What the API server answers to the kubelet.
	request := func(_, _ string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
		if !slices.Equal(request.Spec.Audiences, []string{audience}) {
			return nil, fmt.Errorf("a token for %q is asked for", request.Spec.Audiences)
		}
		request.Status = authenticationv1.TokenRequestStatus{
			Token:               string(token),
			ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Hour)),
		}
		return request, nil
	}
	account := func(namespace, name string) (*corev1.ServiceAccount, error) {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "account-uid"}}, nil
	}
	if err := plugin.RegisterCredentialProviderPlugins(config, programs, request, account); err != nil {
		return err
	}
	keyring := plugin.NewExternalCredentialProviderDockerKeyring("web", "pod", "pod-uid", "builder")
	found, _ := keyring.Lookup(image)
	answer := []credentials{}
	for _, auth := range found {
		answer = append(answer, credentials{auth.Username, auth.Password})
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}
