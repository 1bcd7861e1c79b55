// Go's net/smtp: send JOB (clients/__init__.py), the message on standard input. The library does not give the last reply away.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/smtp"
	"os"
)

type job struct {
	Port       int      `json:"port"`
	Implicit   bool     `json:"implicit"`
	User       string   `json:"user"`
	Password   string   `json:"password"`
	Ca         string   `json:"ca"`
	Sender     string   `json:"sender"`
	Recipients []string `json:"recipients"`
}

func dial(j job, address string, config *tls.Config) (*smtp.Client, error) {
	if !j.Implicit {
		client, err := smtp.Dial(address)
		if err != nil {
			return nil, err
		}
		return client, client.StartTLS(config)
	}
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return nil, err
	}
	return smtp.NewClient(conn, "localhost")
}

func send(j job, message []byte) error {
	pem, err := os.ReadFile(j.Ca)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client, err := dial(j, fmt.Sprintf("localhost:%d", j.Port), &tls.Config{ServerName: "localhost", RootCAs: pool})
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Auth(smtp.PlainAuth("", j.User, j.Password, "localhost")); err != nil {
		return err
	}
	if err := client.Mail(j.Sender); err != nil {
		return err
	}
	for _, recipient := range j.Recipients {
		if err := client.Rcpt(recipient); err != nil {
			return err
		}
	}
	body, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := body.Write(message); err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return err
	}
	return client.Quit()
}

func main() {
	var j job
	err := json.Unmarshal([]byte(os.Args[1]), &j)
	if err == nil {
		var message []byte
		if message, err = io.ReadAll(os.Stdin); err == nil {
			err = send(j, message)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
