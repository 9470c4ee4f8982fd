// A server and clients of Go's own TLS: a folder with cert.pem and key.pem, and the server's port. Prints one line of JSON for all connections: by the client's
// port, the group in which keys were exchanged, as the client says, and whether it stands against quantum computers.
package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
)

type told struct {
	Port        int    `json:"port"`
	Group       string `json:"key_exchange_group"`
	PostQuantum bool   `json:"post_quantum"`
}

// As IANA names them.
var names = map[tls.CurveID]told{
	tls.CurveP256:      {Group: "secp256r1"},
	tls.X25519:         {Group: "x25519"},
	tls.X25519MLKEM768: {Group: "X25519MLKEM768", PostQuantum: true},
}

func main() {
	folder, address := os.Args[1], "127.0.0.1:"+os.Args[2]
	certificate, err := tls.LoadX509KeyPair(folder+"/cert.pem", folder+"/key.pem")
	check(err)
	listener, err := tls.Listen("tcp", address, &tls.Config{Certificates: []tls.Certificate{certificate}})
	check(err)
	go func() {
		for {
			connection, err := listener.Accept()
			check(err)
			go func() {
				io.Copy(connection, connection)
				connection.Close()
			}()
		}
	}()
	var all []told
	for _, groups := range [][]tls.CurveID{nil, {tls.X25519MLKEM768}, {tls.X25519}, {tls.CurveP256}} {
		for range 5 {
			all = append(all, ask(address, groups))
		}
	}
	line, err := json.Marshal(all)
	check(err)
	fmt.Println(string(line))
}

func ask(address string, groups []tls.CurveID) told {
	connection, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, CurvePreferences: groups})
	check(err)
	defer connection.Close()
	_, err = connection.Write([]byte("secret"))
	check(err)
	_, err = io.ReadFull(connection, make([]byte, 6))
	check(err)
	said := names[connection.ConnectionState().CurveID]
	said.Port = connection.LocalAddr().(*net.TCPAddr).Port
	return said
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
