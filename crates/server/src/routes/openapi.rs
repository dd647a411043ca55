//! `/openapi.json`, made from the routes and the types of the wire, and a page for people.

use std::sync::LazyLock;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::api::{Content, Operation};
use crate::wire::error::ErrorBody;

/// Everything of the page is in the page.
const PAGE: &str = include_str!("openapi.html");
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";

pub(super) async fn document() -> impl IntoResponse {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
        let (_, operations) = super::api().into_parts();
        describe(&operations).to_string()
    });
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

pub(super) async fn page() -> impl IntoResponse {
    ([(CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(PAGE))
}

/// The document of some operations.
fn describe(operations: &[Operation]) -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for operation in operations {
        let path = operation.path.replace("{*", "{");
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        methods[operation.method] = one(operation, &mut schemas);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Portcullis",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Fields that are not named here are accepted and ignored where clients of OpenAI's API send some.",
            "license": {"name": "Apache-2.0 OR MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas.into_components(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn one(operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut described = json!({
        "operationId": operation_id(operation),
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": parameters(operation, schemas),
        "responses": responses(operation, schemas),
    });
    if let Some(content) = &operation.takes {
        let body = json!({"required": true, "content": content_of(content, &mut schemas.taken)});
        described["requestBody"] = body;
    }
    if let Some(permission) = operation.permission {
        let roles = permission.roles();
        described["security"] = json!([{"key": []}]);
        described["description"] = format!("Takes a key: {roles}.").into();
        if permission.may_be_open() {
            // Where the server listens on a loopback address alone and has no key.
            described["security"] = json!([{"key": []}, {}]);
        }
    }
    described
}

/// `post_v1_keys_id`
fn operation_id(operation: &Operation) -> String {
    let words = operation.path.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    let id: Vec<&str> = std::iter::once(operation.method).chain(words).collect();
    id.join("_")
}

fn parameters(operation: &Operation, schemas: &mut Schemas) -> Vec<Value> {
    let in_path = operation.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        let name = name.trim_start_matches('*');
        Some(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
    });
    let mut parameters: Vec<Value> = in_path.collect();
    let query = operation.query.map(|schema| {
        let schema = schema(&mut schemas.taken).to_value();
        schemas.resolve(schema)
    });
    let fields = query
        .iter()
        .flat_map(|query| query["properties"].as_object());
    for (name, schema) in fields.flatten() {
        parameters.push(json!({"name": name, "in": "query", "schema": schema}));
    }
    parameters
}

fn responses(operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut responses = Map::new();
    for (status, content) in &operation.gives {
        let response = responses
            .entry(status.to_string())
            .or_insert_with(|| json!({"description": "Done."}));
        let Some(content) = content else { continue };
        let more = content_of(content, &mut schemas.given);
        match &mut response["content"] {
            Value::Object(known) => known.extend(more),
            none => *none = Value::Object(more),
        }
    }
    let error = ErrorBody::json_schema(&mut schemas.given);
    let error =
        json!({"description": "An error.", "content": {"application/json": {"schema": error}}});
    responses.insert("default".to_owned(), error);
    Value::Object(responses)
}

fn content_of(content: &Content, schemas: &mut SchemaGenerator) -> Map<String, Value> {
    let schema = match content.schema {
        Some(schema) => schema(schemas).to_value(),
        None => json!({"type": "string"}),
    };
    let mut of = Map::new();
    of.insert(content.media_type.to_owned(), json!({"schema": schema}));
    of
}

/// Schemas by name: of what is taken and of what is given, since fields that may be left out in the
/// one are always there in the other.
struct Schemas {
    taken: SchemaGenerator,
    given: SchemaGenerator,
}

const COMPONENTS: &str = "/components/schemas";

impl Schemas {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = COMPONENTS.into();
            settings.meta_schema = None;
        });
        Self {
            taken: settings.clone().for_deserialize().into_generator(),
            given: settings.for_serialize().into_generator(),
        }
    }

    /// What a reference stands for.
    fn resolve(&self, schema: Value) -> Value {
        let name = schema["$ref"].as_str().and_then(|at| at.rsplit('/').next());
        let named = name.and_then(|name| self.taken.definitions().get(name));
        named.cloned().unwrap_or(schema)
    }

    fn into_components(mut self) -> Map<String, Value> {
        let mut all = self.taken.take_definitions(true);
        for (name, schema) in self.given.take_definitions(true) {
            let known = all.insert(name.clone(), schema.clone());
            debug_assert!(
                known.is_none_or(|known| known == schema),
                "{name} names two types of the wire"
            );
        }
        all
    }
}
