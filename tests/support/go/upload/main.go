// Command upload is a client that is refused while it sends: it asks the same thing again and again, each time with a large
// body, as docker does whose token is over, and counts what it learns.
//
//	upload -url http://127.0.0.1:5001/v2/team/app/blobs/uploads/ -method POST -bytes 20000000 -times 40 \
//	       -header "Authorization: Basic ..." [-chunked] [-expect] [-http2] [-authority FILE] [-socket PATH]
//
// It prints one line of JSON on standard output: how often each status came ("401": 40), or what the error was instead of
// one, and under "connections" how many were made. With -expect it also counts, under "continued", how often it was told to
// send its body.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

type repeated []string

func (r *repeated) String() string         { return strings.Join(*r, " ") }
func (r *repeated) Set(value string) error { *r = append(*r, value); return nil }

// zeros is a body without end.
type zeros struct{}

func (zeros) Read(into []byte) (int, error) {
	clear(into)
	return len(into), nil
}

func main() {
	url := flag.String("url", "", "what is asked for")
	method := flag.String("method", "POST", "how")
	bytes := flag.Int64("bytes", 20_000_000, "length of the body")
	times := flag.Int("times", 40, "how often")
	chunked := flag.Bool("chunked", false, "do not say the length before")
	expect := flag.Bool("expect", false, "wait to be told to send the body")
	http2 := flag.Bool("http2", false, "speak HTTP/2, with or without TLS")
	authority := flag.String("authority", "", "PEM file: who signs the server's certificate")
	socket := flag.String("socket", "", "unix socket that is connected to")
	var headers repeated
	flag.Var(&headers, "header", "NAME: VALUE, may be repeated")
	flag.Parse()

	var connections, continued atomic.Int64
	transport := &http.Transport{Protocols: new(http.Protocols), ExpectContinueTimeout: 20 * time.Second}
	if *http2 {
		transport.Protocols.SetHTTP2(true)
		transport.Protocols.SetUnencryptedHTTP2(true)
	} else {
		transport.Protocols.SetHTTP1(true)
	}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		connections.Add(1)
		if *socket != "" {
			network, address = "unix", *socket
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	if *authority != "" {
		pem, err := os.ReadFile(*authority)
		if err != nil {
			fmt.Fprintln(os.Stderr, "upload:", err)
			os.Exit(1)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	client := &http.Client{Transport: transport, Timeout: time.Minute}

	learned := map[string]int64{}
	trace := &httptrace.ClientTrace{Got100Continue: func() { continued.Add(1) }}
	for range *times {
		// Hidden from the client, which would otherwise send it once more by itself.
		body := struct{ io.Reader }{io.LimitReader(zeros{}, *bytes)}
		ctx := httptrace.WithClientTrace(context.Background(), trace)
		request, err := http.NewRequestWithContext(ctx, *method, *url, body)
		if err != nil {
			fmt.Fprintln(os.Stderr, "upload:", err)
			os.Exit(1)
		}
		if !*chunked {
			request.ContentLength = *bytes
		}
		for _, header := range headers {
			name, value, _ := strings.Cut(header, ": ")
			request.Header.Set(name, value)
		}
		if *expect {
			request.Header.Set("Expect", "100-continue")
		}
		learned[ask(client, request)]++
	}
	learned["connections"] = connections.Load()
	if *expect {
		learned["continued"] = continued.Load()
	}
	line, _ := json.Marshal(learned)
	fmt.Println(string(line))
}

// ask gives the status, or the error, of one request. The reply has to be whole.
func ask(client *http.Client, request *http.Request) string {
	reply, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer reply.Body.Close()
	if _, err := io.Copy(io.Discard, reply.Body); err != nil {
		return "reply: " + err.Error()
	}
	return strconv.Itoa(reply.StatusCode)
}
