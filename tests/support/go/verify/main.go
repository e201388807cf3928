// Command verify checks a token as the stock registries 2.8 and 3.x do, with nothing of the server's own code: it is
// the second opinion of the tests.
//
// It reads one token on standard input. An accepted token is printed as one JSON object with its header, its claims
// and what it was trusted by, and the exit status is 0. A refused one gives the reason, and the status is 1.
package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// leeway is what both registries add to exp and take from nbf. They add nothing to the certificates' dates.
const leeway = 60 * time.Second

// expected is what a registry is configured with.
type expected struct {
	bundle  []*x509.Certificate
	issuer  string
	service string
	now     time.Time
}

// accepted is what is known of a token once it has passed.
type accepted struct {
	Header    map[string]any `json:"header"`
	Claims    map[string]any `json:"claims"`
	TrustedBy string         `json:"trusted_by"` // "x5c", "kid libtrust" or "kid rfc7638"
}

func main() {
	bundle := flag.String("bundle", "", "the PEM `file` that a registry would have as its rootcertbundle")
	issuer := flag.String("issuer", "", "the wanted iss claim")
	service := flag.String("service", "", "the wanted aud claim")
	now := flag.Int64("now", 0, "the time in `seconds` since 1970 (default: the clock)")
	flag.Parse()

	err := func() error {
		if *bundle == "" || *issuer == "" || *service == "" || flag.NArg() > 0 {
			return errors.New("usage: verify -bundle FILE -issuer NAME -service NAME [-now SECONDS] < TOKEN")
		}
		certificates, err := readBundle(*bundle)
		if err != nil {
			return err
		}
		want := expected{bundle: certificates, issuer: *issuer, service: *service, now: time.Now()}
		if *now != 0 {
			want.now = time.Unix(*now, 0)
		}
		input, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		result, err := want.check(strings.TrimSuffix(string(input), "\n"))
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(result)
	}()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// readBundle takes the CERTIFICATE blocks of a file and skips all others, as registries do.
func readBundle(path string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var certificates []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("bundle: %w", err)
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) == 0 {
		return nil, errors.New("bundle: no certificate in it")
	}
	return certificates, nil
}

// header holds the members that decide about the signature.
type header struct {
	Type      string          `json:"typ"`
	Algorithm string          `json:"alg"`
	KeyID     string          `json:"kid"`
	Chain     []string        `json:"x5c"`
	JWK       json.RawMessage `json:"jwk"`
	Critical  json.RawMessage `json:"crit"`
}

// claims holds what registries read, typed as the stricter of them types it.
type claims struct {
	Issuer    string          `json:"iss"`
	Subject   string          `json:"sub"`
	Audience  string          `json:"aud"` // 2.8 cannot read a list here
	Expires   json.RawMessage `json:"exp"`
	NotBefore json.RawMessage `json:"nbf"`
	IssuedAt  json.RawMessage `json:"iat"`
	ID        string          `json:"jti"`
	Access    []struct {
		Type    string   `json:"type"`
		Class   string   `json:"class"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	} `json:"access"`
}

func (want expected) check(token string) (*accepted, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("malformed: %d parts instead of 3", len(parts))
	}
	var decoded [3][]byte
	for i, part := range parts {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
		// The decoder passes over line ends, which the registries' parsers meet elsewhere as an error.
		if err != nil || strings.ContainsAny(part, "\r\n") {
			return nil, fmt.Errorf("malformed: part %d is not base64url without padding", i+1)
		}
		decoded[i] = raw
	}
	var head header
	allOfHeader, err := readObject("header", decoded[0], &head)
	if err != nil {
		return nil, err
	}
	var claim claims
	allOfClaims, err := readObject("claims", decoded[1], &claim)
	if err != nil {
		return nil, err
	}

	if err := want.checkClaims(claim); err != nil {
		return nil, err
	}
	key, trustedBy, err := want.signingKey(head)
	if err != nil {
		return nil, err
	}
	if err := checkSignature(head.Algorithm, key, parts[0]+"."+parts[1], decoded[2]); err != nil {
		return nil, err
	}
	return &accepted{Header: allOfHeader, Claims: allOfClaims, TrustedBy: trustedBy}, nil
}

// readObject reads one JSON object without doubled names, both into a typed value and as it is.
func readObject(what string, raw []byte, typed any) (map[string]any, error) {
	tokens := json.NewDecoder(bytes.NewReader(raw))
	tokens.UseNumber()
	if err := refuseDoubledNames(tokens); err != nil {
		return nil, fmt.Errorf("malformed %s: %w", what, err)
	}
	if _, err := tokens.Token(); err != io.EOF {
		return nil, fmt.Errorf("malformed %s: something comes after the object", what)
	}
	var all map[string]any
	plain := json.NewDecoder(bytes.NewReader(raw))
	plain.UseNumber()
	if err := plain.Decode(&all); err != nil {
		return nil, fmt.Errorf("malformed %s: %w", what, err)
	}
	if err := json.Unmarshal(raw, typed); err != nil {
		return nil, fmt.Errorf("malformed %s: %w", what, err)
	}
	return all, nil
}

// refuseDoubledNames walks over one JSON value. Parsers differ in which of two equal names counts, so a token with
// both could mean one thing here and another there.
func refuseDoubledNames(tokens *json.Decoder) error {
	token, err := tokens.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		seen := map[string]bool{}
		for tokens.More() {
			name, err := tokens.Token()
			if err != nil {
				return err
			}
			// Go's own reader takes names whatever their case.
			folded := strings.ToLower(name.(string))
			if seen[folded] {
				return fmt.Errorf("%q occurs twice", name)
			}
			seen[folded] = true
			if err := refuseDoubledNames(tokens); err != nil {
				return err
			}
		}
		_, err = tokens.Token()
	case json.Delim('['):
		for tokens.More() {
			if err := refuseDoubledNames(tokens); err != nil {
				return err
			}
		}
		_, err = tokens.Token()
	}
	return err
}

func (want expected) checkClaims(claim claims) error {
	if claim.Issuer != want.issuer {
		return fmt.Errorf("issuer: %q instead of %q", claim.Issuer, want.issuer)
	}
	if claim.Audience != want.service {
		return fmt.Errorf("audience: %q instead of %q", claim.Audience, want.service)
	}
	expires, err := seconds("exp", claim.Expires)
	if err != nil {
		return err
	}
	notBefore, err := seconds("nbf", claim.NotBefore)
	if err != nil {
		return err
	}
	if _, err := seconds("iat", claim.IssuedAt); err != nil {
		return err
	}
	if want.now.After(expires.Add(leeway)) {
		return fmt.Errorf("expired at %v", expires.UTC())
	}
	if want.now.Before(notBefore.Add(-leeway)) {
		return fmt.Errorf("not valid before %v", notBefore.UTC())
	}
	for _, entry := range claim.Access {
		if entry.Type == "" || entry.Name == "" || strings.ContainsAny(entry.Type, "()") {
			return fmt.Errorf("access: %q %q is no type and name", entry.Type, entry.Name)
		}
	}
	return nil
}

var integer = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

func seconds(claim string, written json.RawMessage) (time.Time, error) {
	if !integer.Match(written) {
		return time.Time{}, fmt.Errorf("%s: %q is not a whole number of seconds", claim, written)
	}
	value, err := strconv.ParseInt(string(written), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", claim, err)
	}
	return time.Unix(value, 0), nil
}

// signingKey finds the key that must have signed. A chain in the header decides alone: when it is not trusted, the
// registries do not look at the kid.
func (want expected) signingKey(head header) (crypto.PublicKey, string, error) {
	switch {
	case head.Type != "JWT":
		return nil, "", fmt.Errorf("header: typ is %q", head.Type)
	case head.Critical != nil:
		return nil, "", errors.New("header: crit is not understood")
	case head.JWK != nil:
		return nil, "", errors.New("header: a key in the token itself is trusted by some registries only")
	case head.Chain != nil:
		key, err := want.chainKey(head.Chain)
		return key, "x5c", err
	}
	for _, certificate := range want.bundle {
		libtrust, err := libtrustID(certificate.PublicKey)
		if err != nil {
			return nil, "", err
		}
		if head.KeyID == libtrust {
			return certificate.PublicKey, "kid libtrust", nil
		}
		thumbprint, err := thumbprintID(certificate.PublicKey)
		if err != nil {
			return nil, "", err
		}
		if head.KeyID == thumbprint {
			return certificate.PublicKey, "kid rfc7638", nil
		}
	}
	return nil, "", fmt.Errorf("kid: no key of the bundle is called %q", head.KeyID)
}

func (want expected) chainKey(chain []string) (crypto.PublicKey, error) {
	if len(chain) == 0 {
		return nil, errors.New("x5c: empty")
	}
	var leaf *x509.Certificate
	above := x509.NewCertPool()
	for i, text := range chain {
		der, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil || strings.ContainsAny(text, "\r\n") {
			return nil, fmt.Errorf("x5c: certificate %d is not base64", i+1)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("x5c: certificate %d: %w", i+1, err)
		}
		if i == 0 {
			leaf = certificate
		} else {
			above.AddCert(certificate)
		}
	}
	roots := x509.NewCertPool()
	for _, certificate := range want.bundle {
		roots.AddCert(certificate)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: above,
		CurrentTime:   want.now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("x5c: %w", err)
	}
	return leaf.PublicKey, nil
}

// libtrustID is the key id of registry 2.x.
func libtrustID(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("kid: %w", err)
	}
	sum := sha256.Sum256(der)
	letters := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:30])
	var groups []string
	for at := 0; at < len(letters); at += 4 {
		groups = append(groups, letters[at:at+4])
	}
	return strings.Join(groups, ":"), nil
}

// thumbprintID is the key id of RFC 7638, over coordinates of full size as RFC 7518 section 6.2.1.2 has them.
func thumbprintID(key crypto.PublicKey) (string, error) {
	encode := base64.RawURLEncoding.EncodeToString
	var members string
	switch key := key.(type) {
	case *rsa.PublicKey:
		exponent := big.NewInt(int64(key.E)).Bytes()
		members = fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, encode(exponent), encode(key.N.Bytes()))
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			return "", fmt.Errorf("kid: %w", err)
		}
		size := (len(point) - 1) / 2
		x, y := point[1:1+size], point[1+size:]
		members = fmt.Sprintf(`{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, key.Params().Name, encode(x), encode(y))
	default:
		return "", fmt.Errorf("kid: the bundle holds a %T, which registry 2.8 does not read", key)
	}
	sum := sha256.Sum256([]byte(members))
	return encode(sum[:]), nil
}

// checkSignature takes only the algorithms that all registries accept, each with its own kind of key: an algorithm
// must never be chosen by the token alone.
func checkSignature(algorithm string, key crypto.PublicKey, signed string, signature []byte) error {
	sum256, sum384 := sha256.Sum256([]byte(signed)), sha512.Sum384([]byte(signed))
	valid := false
	switch key := key.(type) {
	case *rsa.PublicKey:
		if algorithm != "RS256" {
			return fmt.Errorf("signature: alg %q does not go with an RSA key", algorithm)
		}
		valid = rsa.VerifyPKCS1v15(key, crypto.SHA256, sum256[:], signature) == nil
	case *ecdsa.PublicKey:
		var sum []byte
		switch algorithm + " " + key.Params().Name {
		case "ES256 P-256":
			sum = sum256[:]
		case "ES384 P-384":
			sum = sum384[:]
		default:
			return fmt.Errorf("signature: alg %q does not go with a key on %s", algorithm, key.Params().Name)
		}
		size := (key.Params().BitSize + 7) / 8
		if len(signature) != 2*size {
			return fmt.Errorf("signature: %d bytes instead of %d", len(signature), 2*size)
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		valid = ecdsa.Verify(key, sum, r, s)
	default:
		return fmt.Errorf("signature: a %T is not accepted by every registry", key)
	}
	if !valid {
		return errors.New("signature: it does not verify")
	}
	return nil
}
