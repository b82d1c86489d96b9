package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

// contractVersion is the version of both documents. A change that breaks readers makes it 2.
const contractVersion = "1.0.0"

// parameterNames describe the tokens of subjects that vary.
var parameterNames = map[string]string{
	"provider":   "The provider's slug.",
	"account":    "The merchant's account at the provider.",
	"payment":    "The payment, percent-encoded outside [A-Za-z0-9_-], or ~ and a keyed hash. The body has it whole.",
	"order":      "The order, encoded like the payment.",
	"status":     "The status that the payment has reached.",
	"class":      "Whose fault it is: ours, provider, data or subscriber.",
	"stage":      "The worker that gave up, or the consumer of the service that refused an event.",
	"subscriber": "The consumer of the service.",
	"verb":       "What the operator does.",
	"outcome":    "What became of the expectation.",
}

var parameter = regexp.MustCompile(`\{([a-z_]+)\}`)

// asyncAPI makes the AsyncAPI 3 document of the given schemas and the declared streams. A
// schema whose stream or address is not declared is an error.
func asyncAPI(documents []document) (object, error) {
	channels, operations, messages, schemas := object{}, object{}, object{}, object{}
	for _, d := range documents {
		stream, err := declared(d)
		if err != nil {
			return nil, err
		}
		message := object{
			"name": d.where.Message, "title": d.schema["title"], "contentType": "application/json",
			"payload": object{"$ref": "#/components/schemas/" + d.where.Message}, "x-json-schema": d.schema["$id"],
		}
		if d.where.Headers != nil {
			message["headers"] = object{"$ref": "#/components/schemas/" + d.where.Message + headersOf}
			schemas[d.where.Message+headersOf] = cloudEventsHeaders(d)
		}
		messages[d.where.Message], schemas[d.where.Message] = message, inlined(d.schema)
		for _, c := range d.where.Channels {
			channels[c.Name] = object{
				"address": c.Address, "description": stream.Description,
				"parameters": parametersOf(c.Address), "servers": []any{object{"$ref": "#/servers/broker"}},
				"messages":    object{d.where.Message: object{"$ref": "#/components/messages/" + d.where.Message}},
				"x-jetstream": jetStream(stream, d.where, c),
			}
			operations[c.Action+strings.ToUpper(c.Name[:1])+c.Name[1:]] = object{
				"action": c.Action, "channel": object{"$ref": "#/channels/" + c.Name},
				"messages": []any{object{"$ref": "#/channels/" + c.Name + "/messages/" + d.where.Message}},
			}
		}
	}
	return object{
		"asyncapi": "3.0.0",
		"info": object{
			"title": "Arauto streams", "version": contractVersion,
			"description": "What Arauto publishes on NATS JetStream, and what it takes from the services around it. " +
				"Every schema is open: pass over fields that you do not know.",
		},
		"defaultContentType": "application/json",
		"servers": object{"broker": object{
			"host": "{host}:4222", "protocol": "nats", "description": "The deployment's broker, NATS with JetStream.",
			"variables": object{"host": object{"description": "The broker's host.", "default": "127.0.0.1"}},
			"security":  []any{object{"$ref": "#/components/securitySchemes/user"}},
		}},
		"channels": channels, "operations": operations,
		"components": object{
			"messages": messages, "schemas": schemas,
			"securitySchemes": object{"user": object{
				"type":        "userPassword",
				"description": "Each service has an account, a user and an inbox prefix of its own; arauto subscriber add prints them.",
			}},
		},
	}, nil
}

// declared is the declared stream of a schema, which must store each of its addresses.
func declared(d document) (jetstream.StreamConfig, error) {
	streams := topology.Streams(topology.Settings{Replicas: 1})
	i := slices.IndexFunc(streams, func(s jetstream.StreamConfig) bool { return s.Name == d.where.Stream })
	if i < 0 {
		return jetstream.StreamConfig{}, fmt.Errorf("%s names the stream %s, which is not declared", d.file, d.where.Stream)
	}
	for _, c := range d.where.Channels {
		for name := range parametersOf(c.Address) {
			if parameterNames[name] == "" {
				return jetstream.StreamConfig{}, fmt.Errorf("%s: the parameter %s of %s has no description in parameterNames", d.file, name, c.Address)
			}
		}
		if !slices.ContainsFunc(streams[i].Subjects, func(s string) bool { return holds(s, c.Address) }) {
			return jetstream.StreamConfig{}, fmt.Errorf("%s: %s does not store %s", d.file, d.where.Stream, c.Address)
		}
	}
	return streams[i], nil
}

// holds reports whether a filter matches an address.
func holds(filter, address string) bool {
	filters, tokens := strings.Split(filter, "."), strings.Split(address, ".")
	for i, f := range filters {
		if f == ">" {
			return len(tokens) > i
		}
		if i >= len(tokens) || f != "*" && f != tokens[i] {
			return false
		}
	}
	return len(filters) == len(tokens)
}

func parametersOf(address string) object {
	all := object{}
	for _, m := range parameter.FindAllStringSubmatch(address, -1) {
		all[m[1]] = object{"description": parameterNames[m[1]]}
	}
	return all
}

// jetStream is the extension x-jetstream of a channel.
func jetStream(s jetstream.StreamConfig, where placement, c channel) object {
	retention := object{"policy": s.Retention.String(), "max_age": "unlimited", "full": "refuses new messages", "max_bytes": "a share of topology.store"}
	if s.MaxAge > 0 {
		retention["max_age"] = s.MaxAge.String()
	}
	if s.Discard == jetstream.DiscardOld {
		retention["full"] = "removes the oldest messages"
	}
	if s.MaxMsgsPerSubject > 0 {
		retention["max_msgs_per_subject"] = s.MaxMsgsPerSubject
	}
	extension := object{
		"stream": s.Name, "subjects": s.Subjects, "storage": s.Storage.String(), "duplicate_window": s.Duplicates.String(),
		"retention": retention, "guarantees": where.Guarantees,
	}
	if c.Consumer == "durable" {
		extension["consumer"] = consumer(s.Name)
	}
	return extension
}

// consumer is the durable consumer of a service, as JetStream's API has it, with times in
// words.
func consumer(stream string) object {
	c := topology.Subscriber("{service}")
	declared := object{
		"durable_name": c.Durable, "ack_policy": c.AckPolicy.String(), "ack_wait": c.AckWait.String(),
		"max_deliver": c.MaxDeliver, "max_ack_pending": c.MaxAckPending,
	}
	declared["made_by"] = "arauto subscriber add {service}"
	if stream == subject.Outcomes {
		declared["made_by"] = "arauto subscriber add {service} --stream outcomes"
	}
	return declared
}

// headersOf ends the name of the schema of a message's headers.
const headersOf = "Headers"

// cloudEventsHeaders is the schema of the headers of a document in binary mode.
func cloudEventsHeaders(d document) object {
	text := func(description string) object {
		return object{"type": "string", "minLength": 1, "description": description}
	}
	required := []string{"ce-datacontenttype", "ce-dataschema", "ce-id", "ce-source", "ce-specversion", "ce-subject", "ce-time", "ce-type"}
	properties := object{
		"ce-specversion":     object{"const": "1.0", "description": "The version of CloudEvents."},
		"ce-id":              text("The same for each delivery of an event, and for an event that was made twice."),
		"ce-source":          text("/provider/account, with /deployment before it where the deployment has a name."),
		"ce-type":            text(d.where.Headers.Type),
		"ce-subject":         text(d.where.Headers.Subject),
		"ce-time":            object{"type": "string", "format": "date-time", "description": d.where.Headers.Time},
		"ce-datacontenttype": object{"const": "application/json", "description": "The form of the body."},
		"ce-dataschema":      object{"const": d.schema["$id"], "description": "The schema of the body."},
		"traceparent":        text("W3C trace context of the webhook, or of the expectation; missing without one."),
	}
	if d.where.Headers.Sequence != "" {
		required = append(required, "ce-sequence")
		properties["ce-sequence"] = object{"type": "string", "pattern": "^[1-9][0-9]*$", "description": d.where.Headers.Sequence}
	}
	return object{"type": "object", "required": required, "properties": properties}
}
