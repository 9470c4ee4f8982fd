// Requests over Go's crypto/tls and in clear text from one process, each with a path of its own, and a server for them.
//
// `serve FOLDER TLS_PORT PLAIN_PORT` serves both, HTTP/1.1 and HTTP/2. `ask FOLDER TLS_PORT PLAIN_PORT NGINX_PORT ROUNDS` asks it, and nginx: connections that are opened at once and kept, others
// that are made in each phase, by few goroutines and by many, from shallow stacks and deep ones. A phase begins when the file `go-NAME` is there, and `done-NAME` says that it is over. Prints one line
// of JSON: the paths of each phase, by the port that was asked. `load FOLDER TLS_PORT PLAIN_PORT` asks until its input ends, and prints how many answers it got.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Is to leave the agent nowhere.
const secret = "not-to-be-told"

const (
	// Goroutines that ask at the same time, and those that wait for their turn.
	askers = 32
	many   = 2000
	// Requests by which a connection is known again that is older than the agent.
	older = 5
)

var insecure = &tls.Config{InsecureSkipVerify: true}

// With a frame of a kilobyte at each of so many levels, so that the stack has to grow, and is copied.
//
//go:noinline
func deep(levels int, then func()) byte {
	var frame [1024]byte
	frame[levels%len(frame)] = byte(levels)
	if levels == 0 {
		then()
	} else {
		frame[0] += deep(levels-1, then)
	}
	return frame[levels%len(frame)]
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func serve(folder, secure, plain string) {
	var served atomic.Uint64
	handler := http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		number := served.Add(1)
		deep(int(number*37%100), func() {
			_, err := io.Copy(io.Discard, request.Body)
			check(err)
			writer.Header().Set("Content-Type", "text/plain")
			if strings.HasPrefix(request.URL.Path, "/ok/") {
				fmt.Fprintln(writer, "ok")
			} else {
				writer.WriteHeader(http.StatusNotFound)
			}
		})
	})
	go func() { log.Fatal((&http.Server{Addr: "127.0.0.1:" + plain, Handler: handler}).ListenAndServe()) }()
	server := &http.Server{Addr: "127.0.0.1:" + secure, Handler: handler}
	log.Fatal(server.ListenAndServeTLS(folder+"/cert.pem", folder+"/key.pem"))
}

// Goroutines that are waited for.
type together struct{ sync.WaitGroup }

func (group *together) run(what func()) {
	group.Add(1)
	go func() {
		defer group.Done()
		what()
	}()
}

type phase struct {
	name  string
	mutex sync.Mutex
	paths map[string][]string
}

func (phase *phase) path(port, kind string, number any) string {
	path := fmt.Sprintf("/ok/%s/%s/%v", phase.name, kind, number)
	phase.mutex.Lock()
	defer phase.mutex.Unlock()
	phase.paths[port] = append(phase.paths[port], path)
	return path
}

func body(number int) []byte {
	if number%4 != 3 {
		return nil
	}
	return bytes.Repeat([]byte(secret), number*251%4000)
}

// What a client of its own sends, in one piece or in two, from some depth of the stack.
type raw struct {
	port       string
	connection net.Conn
	reader     *bufio.Reader
}

func dial(port string, secure bool) *raw {
	address := "127.0.0.1:" + port
	if secure {
		connection, err := tls.Dial("tcp", address, insecure)
		check(err)
		return &raw{port, connection, bufio.NewReader(connection)}
	}
	connection, err := net.Dial("tcp", address)
	check(err)
	return &raw{port, connection, bufio.NewReader(connection)}
}

func (raw *raw) ask(path string, number int) {
	content := body(number)
	method := "GET"
	if content != nil {
		method = "POST"
	}
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", method, path, secret, len(content))
	message := append([]byte(head), content...)
	deep(number*53%150, func() {
		cut := 0
		if number%3 == 0 {
			cut = 20
		}
		for _, part := range [][]byte{message[:cut], message[cut:]} {
			_, err := raw.connection.Write(part)
			check(err)
		}
		response, err := http.ReadResponse(raw.reader, nil)
		check(err)
		answered(response)
	})
}

func answered(response *http.Response) {
	told, err := io.ReadAll(response.Body)
	check(err)
	response.Body.Close()
	if response.StatusCode != 200 || string(told) != "ok\n" {
		panic(fmt.Sprint(response.StatusCode, " ", string(told)))
	}
}

func client(version2, keeps bool) *http.Client {
	transport := &http.Transport{TLSClientConfig: insecure.Clone(), ForceAttemptHTTP2: version2, DisableKeepAlives: !keeps, MaxConnsPerHost: askers, MaxIdleConnsPerHost: askers}
	return &http.Client{Transport: transport}
}

func fetch(client *http.Client, url string, content []byte) {
	method := "GET"
	if content != nil {
		method = "POST"
	}
	request, err := http.NewRequest(method, url, bytes.NewReader(content))
	check(err)
	request.Header.Set("Authorization", "Bearer "+secret)
	response, err := client.Do(request)
	check(err)
	answered(response)
}

// Asks from so many goroutines at the same time, so often in all.
//
// Bodies are sent to where they are read before the answer: nginx answers at once.
func (phase *phase) all(client *http.Client, scheme, port, kind string, goroutines, times int) {
	var group together
	for goroutine := range goroutines {
		group.run(func() {
			for number := goroutine; number < times; number += goroutines {
				path := phase.path(port, kind, number)
				content := body(number)
				if strings.HasPrefix(kind, "nginx") {
					content = nil
				}
				deep(number*29%60, func() { fetch(client, scheme+"://127.0.0.1:"+port+path, content) })
			}
		})
	}
	group.Wait()
}

func (phase *phase) curl(port string, how string, number int) {
	arguments := []string{"-sSk", how, "-w", "%{response_code} ", "-H", "Authorization: Bearer " + secret}
	for at := range 10 {
		path := phase.path(port, "curl"+how, fmt.Sprint(number, "-", at))
		arguments = append(arguments, "-o", "/dev/null", "https://127.0.0.1:"+port+path)
	}
	told, err := exec.Command("curl", arguments...).Output()
	check(err)
	if string(told) != strings.Repeat("200 ", 10) {
		panic(string(told))
	}
}

func (phase *phase) run(kept []*raw, kept2 *http.Client, secure, plain, nginx string, rounds int) {
	// Of a connection that is older than the agent, a read is under way that the agent has not seen begin.
	for at, connection := range kept {
		for number := range older {
			connection.ask(phase.path(connection.port, fmt.Sprint("first-", at), number), number)
		}
	}
	for number := range older {
		path := phase.path(secure, "first-http2", number)
		fetch(kept2, "https://127.0.0.1:"+secure+path, nil)
	}
	var group together
	for at, connection := range kept {
		group.run(func() {
			for number := range rounds {
				connection.ask(phase.path(connection.port, fmt.Sprint("kept-", at), number), number)
			}
		})
	}
	group.run(func() { phase.all(kept2, "https", secure, "kept-http2", askers, 2*rounds) })
	group.run(func() { phase.all(client(false, true), "https", secure, "http1", askers, 2*rounds) })
	group.run(func() { phase.all(client(true, true), "https", secure, "http2", askers, 2*rounds) })
	group.run(func() { phase.all(client(false, false), "https", secure, "short", 4, rounds/4) })
	group.run(func() { phase.all(client(false, true), "http", plain, "plain", askers, rounds) })
	group.run(func() { phase.all(client(false, true), "https", nginx, "nginx", askers, rounds) })
	group.run(func() { phase.all(client(true, true), "https", nginx, "nginx-http2", askers, rounds) })
	group.run(func() {
		for number := range rounds / 50 {
			phase.curl(secure, "--http1.1", number)
			phase.curl(secure, "--http2", number)
		}
	})
	group.Wait()
	phase.all(client(false, true), "https", secure, "many", many, many)
}

func ask(folder, secure, plain, nginx string, rounds int) {
	kept := []*raw{dial(secure, true), dial(plain, false), dial(secure, true), dial(nginx, true)}
	kept2 := client(true, true)
	fetch(kept2, "https://127.0.0.1:"+secure+"/ok/warm", nil)
	asked := map[string]map[string][]string{}
	for _, name := range []string{"before", "middle", "between", "again"} {
		if name == "before" {
			check(os.WriteFile(folder+"/ready", nil, 0o644))
		}
		for {
			if _, err := os.Stat(folder + "/go-" + name); err == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		phase := &phase{name: name, paths: map[string][]string{}}
		phase.run(kept, kept2, secure, plain, nginx, rounds)
		asked[name] = phase.paths
		// What ends last may still be on its way.
		time.Sleep(time.Second)
		check(os.WriteFile(folder+"/done-"+name, nil, 0o644))
	}
	line, err := json.Marshal(asked)
	check(err)
	fmt.Println(string(line))
}

func load(secure, plain string) {
	var answers atomic.Uint64
	for at := range askers {
		go func() {
			secure, plain := dial(secure, true), dial(plain, false)
			client := client(at%2 == 0, at%4 < 2)
			for number := 0; ; number++ {
				secure.ask("/ok/load", number)
				plain.ask("/ok/load", number)
				fetch(client, "https://127.0.0.1:"+secure.port+"/ok/load", body(number))
				answers.Add(3)
			}
		}()
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	fmt.Println(answers.Load())
}

func main() {
	// Stacks that have become too large are made smaller by the collector.
	go func() {
		for {
			runtime.GC()
			time.Sleep(20 * time.Millisecond)
		}
	}()
	switch arguments := os.Args[2:]; os.Args[1] {
	case "serve":
		serve(arguments[0], arguments[1], arguments[2])
	case "ask":
		rounds, err := strconv.Atoi(arguments[4])
		check(err)
		ask(arguments[0], arguments[1], arguments[2], arguments[3], rounds)
	case "load":
		load(arguments[1], arguments[2])
	}
}
