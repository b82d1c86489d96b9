package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
)

// page is one HTML page. It loads nothing: its style is in it.
type page struct {
	Title, Lead string
	Links       []link
	Sections    []section
}

type link struct{ Target, Text string }

// section is a heading with what is below it.
type section struct {
	Title, Lead string
	Lines       []string
	Tables      []table
}

type table struct {
	Title string
	Head  []string
	Rows  [][]string
}

//go:embed page.html
var pageTemplate string

func (p page) render() ([]byte, error) {
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return nil, fmt.Errorf("read page: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, p); err != nil {
		return nil, fmt.Errorf("render page: %w", err)
	}
	return out.Bytes(), nil
}

func indexPage() page {
	return page{
		Title: "Arauto's contract",
		Lead:  "What services can build on. The documents are made from the code by make contract, and a test holds them to it.",
		Links: []link{
			{"streams.html", "Streams: what is published, and how to read it"}, {"http.html", "HTTP: webhooks, health and metrics"},
			{"asyncapi.json", "AsyncAPI 3 document"}, {"openapi.json", "OpenAPI 3.1 document"},
		},
	}
}

// at is what stands at a path of keys in a document, nil for nothing.
func at(document any, keys ...string) any {
	for _, key := range keys {
		o, ok := document.(object)
		if !ok {
			return nil
		}
		document = o[key]
	}
	return document
}

func text(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case []any:
		all := make([]string, len(v))
		for i, one := range v {
			all[i] = text(one)
		}
		return strings.Join(all, ", ")
	case []string:
		return strings.Join(v, ", ")
	}
	return fmt.Sprint(value)
}

// sorted are the keys of an object in order.
func sorted(value any) []string {
	o, _ := value.(object)
	return slices.Sorted(maps.Keys(o))
}

func streamsPage(async object) page {
	p := page{Title: "Streams", Lead: text(at(async, "info", "description")), Links: []link{{"index.html", "Contract"}, {"asyncapi.json", "AsyncAPI 3 document"}}}
	for _, name := range sorted(async["channels"]) {
		channel := at(async, "channels", name)
		s := section{Title: text(at(channel, "address")), Lead: text(at(channel, "description"))}
		s.Lines, _ = at(channel, "x-jetstream", "guarantees").([]string)
		parameters := table{Title: "In the subject", Head: []string{"token", "is"}}
		for _, token := range sorted(at(channel, "parameters")) {
			parameters.Rows = append(parameters.Rows, []string{token, text(at(channel, "parameters", token, "description"))})
		}
		stream := table{Title: "JetStream", Head: []string{"setting", "value"}}
		stream.settings("", at(channel, "x-jetstream"))
		s.Tables = append(s.Tables, parameters, stream)
		for _, message := range sorted(at(channel, "messages")) {
			fields := table{Title: "Body of " + message, Head: []string{"field", "type", "always there", "is"}}
			fields.fields("", at(async, "components", "schemas", message))
			s.Tables = append(s.Tables, fields)
			if at(async, "components", "messages", message, "headers") != nil {
				headers := table{Title: "Headers of " + message, Head: fields.Head}
				headers.fields("", at(async, "components", "schemas", message+headersOf))
				s.Tables = append(s.Tables, headers)
			}
		}
		p.Sections = append(p.Sections, s)
	}
	return p
}

// settings adds a row for each value of an object, with the keys that lead to it.
func (t *table) settings(before string, value any) {
	for _, key := range sorted(value) {
		one := at(value, key)
		switch {
		case key == "guarantees":
		case len(sorted(one)) > 0:
			t.settings(before+key+".", one)
		default:
			t.Rows = append(t.Rows, []string{before + key, text(one)})
		}
	}
}

// fields adds a row for each field of a schema, and of the objects in it.
func (t *table) fields(before string, schema any) {
	required, _ := at(schema, "required").([]any)
	if names, ok := at(schema, "required").([]string); ok {
		for _, name := range names {
			required = append(required, name)
		}
	}
	for _, name := range sorted(at(schema, "properties")) {
		field := at(schema, "properties", name)
		always := ""
		if slices.Contains(required, any(name)) {
			always = "yes"
		}
		t.Rows = append(t.Rows, []string{before + name, form(field), always, text(at(field, "description"))})
		t.fields(before+name+".", field)
		alternatives, _ := at(field, "anyOf").([]any)
		for _, one := range alternatives {
			t.fields(before+name+".", one)
		}
		if item := at(field, "items"); item != nil {
			t.fields(before+name+"[].", item)
		}
	}
}

// form is the type of a field in words.
func form(field any) string {
	if alternatives, ok := at(field, "anyOf").([]any); ok {
		words := make([]string, len(alternatives))
		for i, one := range alternatives {
			words[i] = form(one)
		}
		return strings.Join(words, " or ")
	}
	for _, keyword := range []string{"const", "enum"} {
		if value := at(field, keyword); value != nil {
			return text(value)
		}
	}
	if format := text(at(field, "format")); format != "" {
		return format
	}
	return text(at(field, "type"))
}

func httpPage(open object) page {
	p := page{Title: "HTTP", Lead: text(at(open, "info", "description")), Links: []link{{"index.html", "Contract"}, {"openapi.json", "OpenAPI 3.1 document"}}}
	for _, path := range sorted(open["paths"]) {
		for _, method := range []string{"get", "post"} {
			operation := at(open, "paths", path, method)
			if operation == nil {
				continue
			}
			s := section{Title: strings.ToUpper(method) + " " + path, Lead: text(at(operation, "summary"))}
			if more := text(at(operation, "description")); more != "" {
				s.Lines = append(s.Lines, more)
			}
			security, _ := at(operation, "security").([]any)
			for _, one := range security {
				for _, name := range sorted(one) {
					scheme := at(open, "components", "securitySchemes", name)
					s.Lines = append(s.Lines, strings.TrimSpace("Credential: "+text(at(scheme, "type"))+" "+text(at(scheme, "name")))+". "+text(at(scheme, "description")))
				}
			}
			answers := table{Title: "Answers", Head: []string{"status", "body", "means"}}
			for _, status := range sorted(at(operation, "responses")) {
				response := at(operation, "responses", status)
				if at(response, "$ref") != nil {
					response = at(open, "components", "responses", status)
				}
				answers.Rows = append(answers.Rows, []string{status, strings.Join(sorted(at(response, "content")), ", "), text(at(response, "description"))})
			}
			s.Tables = append(s.Tables, answers)
			p.Sections = append(p.Sections, s)
		}
	}
	return p
}
