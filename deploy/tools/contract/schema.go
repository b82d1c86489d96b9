package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// object is a JSON object. Its keys are written in order.
type object = map[string]any

// document is one published JSON Schema, with where its documents are.
type document struct {
	file   string
	schema object
	where  placement
}

// placement is the keyword x-jetstream of a schema.
type placement struct {
	Stream     string    `json:"stream"`
	Message    string    `json:"message"`           // Names the message in the AsyncAPI document.
	Headers    *headers  `json:"headers,omitempty"` // Of CloudEvents in binary mode; nil for documents without.
	Channels   []channel `json:"channels"`
	Guarantees []string  `json:"guarantees"`
}

// channel is a family of subjects with documents of one schema.
type channel struct {
	Name     string `json:"name"`
	Address  string `json:"address"`            // With {parameter} for a token that varies.
	Action   string `json:"action"`             // "send": Arauto publishes. "receive": Arauto takes what others publish.
	Consumer string `json:"consumer,omitempty"` // "durable": services read with a consumer of their own.
}

// headers say what the CloudEvents attributes of a document are, as far as documents differ.
type headers struct {
	Type     string `json:"type"`
	Subject  string `json:"subject"`
	Time     string `json:"time"`
	Sequence string `json:"sequence,omitempty"` // "" for documents without this extension.
}

// readDocuments reads every JSON Schema below a folder. A schema that does not say where its
// documents are is an error.
func readDocuments(folder string) ([]document, error) {
	var all []document
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".schema.json") {
			return err
		}
		d, err := readDocument(path)
		if err != nil {
			return err
		}
		all = append(all, d)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read schemas: %w", err)
	}
	slices.SortFunc(all, func(a, b document) int { return strings.Compare(a.where.Message, b.where.Message) })
	return all, nil
}

func readDocument(path string) (document, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return document{}, err
	}
	d := document{file: filepath.Base(path)}
	var placed struct {
		Where *placement `json:"x-jetstream"`
	}
	if err := json.Unmarshal(text, &d.schema); err != nil {
		return document{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := json.Unmarshal(text, &placed); err != nil {
		return document{}, fmt.Errorf("%s: %w", path, err)
	}
	if placed.Where == nil {
		return document{}, fmt.Errorf("%s has no x-jetstream; say there on which stream and subjects its documents are", path)
	}
	d.where = *placed.Where
	for _, c := range d.where.Channels {
		if c.Action != "send" && c.Action != "receive" || c.Consumer != "" && c.Consumer != "durable" {
			return document{}, fmt.Errorf("%s: channel %s has the action %q and the consumer %q", path, c.Name, c.Action, c.Consumer)
		}
	}
	return d, nil
}

// inlined is a schema (draft 2020-12) as AsyncAPI reads one, which has neither $defs nor
// dependentRequired: each reference is replaced by what it names.
func inlined(schema object) object {
	defs, _ := schema["$defs"].(object)
	out, _ := inline(schema, defs).(object)
	return out
}

func inline(value any, defs object) any {
	switch v := value.(type) {
	case []any:
		out := make([]any, len(v))
		for i, one := range v {
			out[i] = inline(one, defs)
		}
		return out
	case object:
		out := object{}
		if name, ok := v["$ref"].(string); ok {
			if named, ok := inline(defs[strings.TrimPrefix(name, "#/$defs/")], defs).(object); ok {
				maps.Copy(out, named)
			}
		}
		for key, one := range v {
			switch key {
			case "$ref", "$defs", "$schema", "$id", "x-jetstream":
			case "dependentRequired":
				out["dependencies"] = one
			default:
				out[key] = inline(one, defs)
			}
		}
		return out
	}
	return value
}

// encode writes a document as indented JSON with its keys in order.
func encode(document any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(document); err != nil {
		return nil, fmt.Errorf("encode document: %w", err)
	}
	return out.Bytes(), nil
}
