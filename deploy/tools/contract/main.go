// Command contract writes what subscribers and providers can build on: an AsyncAPI document
// of the streams, an OpenAPI document of the HTTP side, and pages that show both.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	into := flag.String("into", "deploy/contract", "the `folder` that the documents are written to")
	schemas := flag.String("schemas", "schemas", "the `folder` below which the JSON Schemas are")
	flag.Parse()
	if err := write(*schemas, *into); err != nil {
		fmt.Fprintln(os.Stderr, "contract:", err)
		os.Exit(1)
	}
}

// write writes every document. What is written depends on nothing but the code and the
// schemas, so that writing twice changes nothing.
func write(schemas, into string) error {
	files, err := generate(schemas)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(into, 0o750); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(into, name), text, 0o644); err != nil { //nolint:gosec // Everyone may read the contract.
			return fmt.Errorf("write document: %w", err)
		}
	}
	return nil
}

// generate makes every document, by the name of its file.
func generate(schemas string) (map[string][]byte, error) {
	documents, err := readDocuments(schemas)
	if err != nil {
		return nil, err
	}
	async, err := asyncAPI(documents)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	if files["asyncapi.json"], err = encode(async); err != nil {
		return nil, err
	}
	open := openAPI()
	if files["openapi.json"], err = encode(open); err != nil {
		return nil, err
	}
	for name, page := range map[string]page{"streams.html": streamsPage(async), "http.html": httpPage(open), "index.html": indexPage()} {
		if files[name], err = page.render(); err != nil {
			return nil, err
		}
	}
	return files, nil
}
