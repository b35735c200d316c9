package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/salve-healing/salve/sdk/go/http"
	"github.com/salve-healing/salve/sdk/go/salvetest"
)

// freeAddress is one on loopback that nobody has now.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// balancer starts a real HAProxy over two servers, and gives the addresses of its front and of its statistics page.
func balancer(t *testing.T, admin string, a, b string) (front, stats string) {
	t.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		path = "/usr/sbin/haproxy"
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal("HAProxy is missing; `cargo xtask setup` installs it, or your package manager does")
	}
	front, stats = freeAddress(t), freeAddress(t)
	configuration := filepath.Join(t.TempDir(), "haproxy.cfg")
	text := fmt.Sprintf(`
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend web
  bind %s
  default_backend shop
backend shop
  option http-server-close
  server a %s
  server b %s
listen statistics
  bind %s
  stats enable
  stats uri /stats
  %s
`, front, a, b, stats, admin)
	if err := os.WriteFile(configuration, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	command := exec.Command(path, "-db", "-f", configuration)
	command.Stderr = &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		if connection, err := net.Dial("tcp", stats); err == nil {
			connection.Close()
			return front, stats
		}
		if time.Now().After(deadline) {
			t.Fatalf("HAProxy does not answer:\n%s", said.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// overHTTP passes the action's calls to a real server, without following redirects, as the host does.
func overHTTP(t *testing.T, address string) *salvetest.Host {
	t.Helper()
	client := &nethttp.Client{CheckRedirect: func(*nethttp.Request, []*nethttp.Request) error {
		return nethttp.ErrUseLastResponse
	}}
	host := salvetest.NewHost()
	host.HandleHTTP = func(request *http.Request) *http.Response {
		made, err := nethttp.NewRequest(request.Method, "http://"+address+request.Path, bytes.NewReader(request.Body))
		if err != nil {
			t.Fatal(err)
		}
		for _, header := range request.Headers {
			made.Header.Set(header.Name, header.Value)
		}
		answer, err := client.Do(made)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Response{Status: uint16(answer.StatusCode), Body: body}
	}
	return host
}

func named(name string) *httptest.Server {
	return httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		fmt.Fprint(w, name)
	}))
}

// served asks the front so many times and counts who answered.
func served(t *testing.T, front string, times int) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for range times {
		answer, err := nethttp.Get("http://" + front + "/")
		if err != nil {
			t.Fatal(err)
		}
		name, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		counts[string(name)]++
	}
	return counts
}

func run(t *testing.T, host *salvetest.Host, parameters string) (note string, err error) {
	t.Helper()
	test := drain(host, parameters)
	approved, err := test.Plan()
	if err != nil {
		return "", err
	}
	outcome, err := test.Execute(approved)
	if err != nil {
		return "", err
	}
	return outcome.Note, nil
}

// Against a real HAProxy: a drained server gets nothing new, the last one is not drained, and a ready one works again.
func TestRealHAProxy(t *testing.T) {
	a, b := named("a"), named("b")
	defer a.Close()
	defer b.Close()
	front, stats := balancer(t, "stats admin if TRUE", a.Listener.Addr().String(), b.Listener.Addr().String())
	if counts := served(t, front, 20); counts["a"] == 0 || counts["b"] == 0 {
		t.Fatalf("before: %v", counts)
	}
	host := overHTTP(t, stats)
	note, err := run(t, host, shopA)
	if err != nil || !strings.HasPrefix(note, "`a` is empty after ") {
		t.Fatal(note, err)
	}
	if counts := served(t, front, 20); counts["a"] != 0 || counts["b"] != 20 {
		t.Errorf("drained: %v", counts)
	}
	if _, err := run(t, host, `{"backend":"shop","server":"b"}`); err == nil ||
		err.Error() != "only 0 others of `shop` take traffic, 1 must" {
		t.Errorf("the last one: %v", err)
	}
	if note, err := run(t, host, `{"backend":"shop","server":"a","state":"ready"}`); err != nil {
		t.Error(note, err)
	}
	if counts := served(t, front, 20); counts["a"] == 0 {
		t.Errorf("ready: %v", counts)
	}
}

// A page without `stats admin` takes the form and does nothing; the action sees that.
func TestRealHAProxyWithoutAdmin(t *testing.T) {
	a, b := named("a"), named("b")
	defer a.Close()
	defer b.Close()
	_, stats := balancer(t, "", a.Listener.Addr().String(), b.Listener.Addr().String())
	_, err := run(t, overHTTP(t, stats), shopA)
	if err == nil || !strings.Contains(err.Error(), "`stats admin`") {
		t.Error(err)
	}
}

// A session that is open counts until it ends.
func TestRealHAProxyWaitsForSessions(t *testing.T) {
	release := make(chan struct{})
	busy := make(chan struct{}, 1)
	a := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		busy <- struct{}{}
		<-release
	}))
	defer a.Close()
	b := named("b")
	defer b.Close()
	front, stats := balancer(t, "stats admin if TRUE", a.Listener.Addr().String(), b.Listener.Addr().String())
	// The first request of a round goes to a.
	connection, err := net.Dial("tcp", front)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprint(connection, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
	select {
	case <-busy:
	case <-time.After(20 * time.Second):
		t.Fatal("a was not asked")
	}
	note, err := run(t, overHTTP(t, stats), `{"backend":"shop","server":"a","empty_within_ms":500}`)
	if err != nil || note != "`a` gets no new sessions; 1 are left" {
		t.Error(note, err)
	}
	close(release)
	answer, err := nethttp.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil || answer.StatusCode != 200 {
		t.Errorf("the open session was cut: %v %v", answer, err)
	}
}
