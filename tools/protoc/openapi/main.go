// Copyright 2026 The Parley Authors
// SPDX-License-Identifier: Apache-2.0

// Command openapi is a protoc plugin: it writes openapi.yaml, the OpenAPI 3
// document of Parley's HTTP/JSON API, from the comments and annotations of the
// proto files.
//
// The work is done by gnostic's generator. This command tells it what it cannot
// know, and corrects what it assumes of other servers.
package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/gnostic/cmd/protoc-gen-openapi/generator"
	openapi "github.com/google/gnostic/openapiv3"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"
)

const (
	outputFile  = "openapi.yaml"
	jsonType    = "application/json"
	errorSchema = "Error"
	// updateSuffix ends the name of the body of an update.
	updateSuffix = "Update"
)

func main() {
	protogen.Options{}.Run(func(plugin *protogen.Plugin) error {
		plugin.SupportedFeatures = uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL)

		for _, file := range plugin.Files {
			if file.Generate {
				prepare(file)
			}
		}
		content, err := generate(plugin)
		if err != nil {
			return err
		}
		_, err = plugin.NewGeneratedFile(outputFile, "").Write(content)
		return err
	})
}

// generate runs gnostic's generator on a scratch file, because a generated file
// can only be added to, and returns the corrected document.
func generate(plugin *protogen.Plugin) ([]byte, error) {
	scratch := plugin.NewGeneratedFile("scratch.yaml", "")
	scratch.Skip()
	config := generator.Configuration{
		Version:         new("v1"),
		Title:           new("Parley"),
		Description:     new(""),
		Naming:          new("json"),
		FQSchemaNaming:  new(false),
		EnumType:        new("integer"),
		CircularDepth:   new(2),
		DefaultResponse: new(true),
		OutputMode:      new("merged"),
	}
	if err := generator.NewOpenAPIv3Generator(plugin, config, plugin.Files).Run(scratch); err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	raw, err := scratch.Content()
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	document, err := openapi.ParseDocument(raw)
	if err != nil {
		return nil, fmt.Errorf("parse the generated document: %w", err)
	}
	correct(document, plugin)
	return document.YAMLValue("Generated from the proto files. DO NOT EDIT.")
}

// prepare changes what the generator reads: it takes a field that is part of the
// path out of the body, and the second path of a method, which would repeat its
// operation id, out of the document.
func prepare(file *protogen.File) {
	for _, service := range file.Services {
		service.Comments.Leading = flush(service.Comments.Leading)
		for _, method := range service.Methods {
			method.Comments.Leading = flush(method.Comments.Leading)
			rule, ok := proto.GetExtension(method.Desc.Options(), annotations.E_Http).(*annotations.HttpRule)
			if !ok || rule == nil {
				continue
			}
			for _, other := range rule.GetAdditionalBindings() {
				method.Comments.Leading += protogen.Comments("\nAlso at `" + other.GetPost() + "`.\n")
			}
			rule.AdditionalBindings = nil
			if rule.GetBody() == "*" {
				method.Input.Fields = withoutPathFields(method.Input.Fields, rule.GetPost())
			}
		}
	}
	for _, message := range file.Messages {
		message.Comments.Leading = flush(message.Comments.Leading)
		for _, field := range message.Fields {
			field.Comments.Leading = flush(field.Comments.Leading)
		}
	}
}

// flush removes the space between `//` and the text, which would otherwise
// indent every line but the first.
func flush(comment protogen.Comments) protogen.Comments {
	lines := strings.Split(string(comment), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, " ")
	}
	return protogen.Comments(strings.Join(lines, "\n"))
}

// withoutPathFields returns the fields whose name is no variable of the path.
func withoutPathFields(fields []*protogen.Field, path string) []*protogen.Field {
	var kept []*protogen.Field
	for _, field := range fields {
		if !strings.Contains(path, "{"+string(field.Desc.Name())+"=") {
			kept = append(kept, field)
		}
	}
	return kept
}

// correct changes the generated document: errors are wrapped in an object
// (AIP-193), enums say their values, streams are not JSON documents, and an
// update needs no field.
func correct(document *openapi.Document, plugin *protogen.Plugin) {
	streams, enums := index(plugin)
	schemas := document.GetComponents().GetSchemas()

	for _, path := range document.GetPaths().GetPath() {
		item := path.GetValue()
		for _, operation := range []*openapi.Operation{item.GetGet(), item.GetPost(), item.GetPatch(), item.GetDelete()} {
			if operation != nil {
				correctResponses(operation.GetResponses(), streams[operation.GetOperationId()])
			}
		}
		if item.GetPatch() != nil {
			allowFragment(item.GetPatch(), schemas)
		}
	}
	for _, schema := range schemas.GetAdditionalProperties() {
		message := strings.TrimSuffix(schema.GetName(), updateSuffix)
		for _, property := range schema.GetValue().GetSchema().GetProperties().GetAdditionalProperties() {
			if enum := enums[message+"."+property.GetName()]; enum != nil {
				describeEnum(property.GetValue().GetSchema(), enum)
			}
		}
		if schema.GetName() == "Status" {
			schema.Name = errorSchema
			schema.Value = errorObject()
		}
	}
}

// index returns which operations answer with a stream, by operation id, and the
// enums of the fields that have one, by message and JSON name.
func index(plugin *protogen.Plugin) (streams map[string]bool, enums map[string]*protogen.Enum) {
	streams = map[string]bool{}
	enums = map[string]*protogen.Enum{}
	for _, file := range plugin.Files {
		if !file.Generate {
			continue
		}
		for _, service := range file.Services {
			for _, method := range service.Methods {
				streams[service.GoName+"_"+method.GoName] = method.Desc.IsStreamingServer()
			}
		}
		for _, message := range file.Messages {
			for _, field := range message.Fields {
				if field.Enum != nil {
					enums[message.GoIdent.GoName+"."+field.Desc.JSONName()] = field.Enum
				}
			}
		}
	}
	return streams, enums
}

func correctResponses(responses *openapi.Responses, stream bool) {
	failed := responses.GetDefault().GetResponse()
	failed.Description = "The request failed; `code` in the body is the HTTP status."
	failed.GetContent().GetAdditionalProperties()[0].GetValue().GetSchema().GetReference().XRef = "#/components/schemas/" + errorSchema

	for _, named := range responses.GetResponseOrReference() {
		if named.GetName() != strconv.Itoa(http.StatusOK) {
			continue
		}
		response := named.GetValue().GetResponse()
		content := response.GetContent()
		switch {
		case stream:
			envelope := content.GetAdditionalProperties()[0].GetValue()
			content.AdditionalProperties = []*openapi.NamedMediaType{
				{Name: "text/event-stream", Value: envelope},
				{Name: "application/x-ndjson", Value: envelope},
			}
		case len(content.GetAdditionalProperties()) == 0: // google.protobuf.Empty
			response.Content = &openapi.MediaTypes{AdditionalProperties: []*openapi.NamedMediaType{
				{Name: jsonType, Value: &openapi.MediaType{Schema: schemaOf(&openapi.Schema{Type: "object"})}},
			}}
		}
	}
}

// allowFragment gives an update a body of its own, the resource without required
// fields.
func allowFragment(update *openapi.Operation, schemas *openapi.SchemasOrReferences) {
	body := update.GetRequestBody().GetRequestBody().GetContent().GetAdditionalProperties()[0].GetValue()
	reference := body.GetSchema().GetReference().GetXRef()
	for _, schema := range schemas.GetAdditionalProperties() {
		if !strings.HasSuffix(reference, "/"+schema.GetName()) {
			continue
		}
		fragment := proto.CloneOf(schema)
		fragment.Name += updateSuffix
		fragment.GetValue().GetSchema().Required = nil
		fragment.GetValue().GetSchema().Description = "The fields of a " + schema.GetName() + " that an update changes."
		schemas.AdditionalProperties = append(schemas.AdditionalProperties, fragment)
		body.Schema = &openapi.SchemaOrReference{
			Oneof: &openapi.SchemaOrReference_Reference{Reference: &openapi.Reference{XRef: reference + updateSuffix}},
		}
		return
	}
}

func describeEnum(schema *openapi.Schema, enum *protogen.Enum) {
	schema.Format = ""
	var text strings.Builder
	text.WriteString(schema.GetDescription())
	text.WriteString("\n")
	for _, value := range enum.Values {
		number := value.Desc.Number()
		if number == 0 {
			continue // says that nothing was chosen
		}
		schema.Enum = append(schema.Enum, &openapi.Any{Yaml: fmt.Sprint(number)})
		comment := strings.Join(strings.Fields(string(value.Comments.Leading)), " ")
		fmt.Fprintf(&text, "\n- %d `%s`: %s", number, value.Desc.Name(), comment)
	}
	schema.Description = text.String()
}

// errorObject is the schema of `{"error": {...}}`.
func errorObject() *openapi.SchemaOrReference {
	property := func(name, typ, description string) *openapi.NamedSchemaOrReference {
		return &openapi.NamedSchemaOrReference{Name: name, Value: schemaOf(&openapi.Schema{Type: typ, Description: description})}
	}
	details := property("details", "array", "One google.rpc.ErrorInfo, and others such as google.rpc.BadRequest with every violation.")
	details.GetValue().GetSchema().Items = &openapi.ItemsItem{SchemaOrReference: []*openapi.SchemaOrReference{{
		Oneof: &openapi.SchemaOrReference_Reference{Reference: &openapi.Reference{XRef: "#/components/schemas/GoogleProtobufAny"}},
	}}}
	fields := schemaOf(&openapi.Schema{
		Type: "object",
		Properties: &openapi.Properties{AdditionalProperties: []*openapi.NamedSchemaOrReference{
			property("code", "integer", "The HTTP status."),
			property("status", "string", "The name of the google.rpc.Code, such as `INVALID_ARGUMENT`."),
			property("message", "string", "What went wrong, for developers: it names the place and the rule, never a value."),
			details,
		}},
		Required: []string{"code", "status", "message", "details"},
	})
	return schemaOf(&openapi.Schema{
		Type:        "object",
		Description: "How every failed request is answered (AIP-193).",
		Properties: &openapi.Properties{AdditionalProperties: []*openapi.NamedSchemaOrReference{
			{Name: "error", Value: fields},
		}},
		Required: []string{"error"},
	})
}

func schemaOf(schema *openapi.Schema) *openapi.SchemaOrReference {
	return &openapi.SchemaOrReference{Oneof: &openapi.SchemaOrReference_Schema{Schema: schema}}
}
