//! Routes together with what they take and give: a route that the document does not know cannot be
//! made.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::auth::Permission;
use crate::state::App;

/// Routes, and the operations behind them.
pub(super) struct Api {
    tag: &'static str,
    router: Router<App>,
    operations: Vec<Operation>,
}

/// A method of a path.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    /// `None`: everybody may.
    pub(super) permission: Option<Permission>,
    pub(super) query: Option<MakeSchema>,
    pub(super) takes: Option<Content>,
    pub(super) gives: Vec<(u16, Option<Content>)>,
}

/// Makes the schema of a type.
pub(super) type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// A body.
#[derive(Clone, Copy)]
pub(super) struct Content {
    pub(super) media_type: &'static str,
    pub(super) schema: Option<MakeSchema>,
}

impl Content {
    fn json<T: JsonSchema>() -> Self {
        Self {
            media_type: "application/json",
            schema: Some(schema_of::<T>),
        }
    }
}

fn schema_of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<T>()
}

/// The fields of two types in one object.
fn schema_of_both<A: JsonSchema, B: JsonSchema>(schemas: &mut SchemaGenerator) -> Schema {
    let both = [schemas.subschema_for::<A>(), schemas.subschema_for::<B>()];
    schemars::json_schema!({"allOf": both})
}

impl Operation {
    /// What the caller's key must allow.
    pub(super) fn needs(self, permission: Permission) -> Self {
        Self {
            permission: Some(permission),
            ..self
        }
    }

    pub(super) fn asks<T: JsonSchema>(self) -> Self {
        Self {
            query: Some(schema_of::<T>),
            ..self
        }
    }

    pub(super) fn takes<T: JsonSchema>(self) -> Self {
        Self {
            takes: Some(Content::json::<T>()),
            ..self
        }
    }

    pub(super) fn takes_both<A: JsonSchema, B: JsonSchema>(self) -> Self {
        let schema = Some(schema_of_both::<A, B> as MakeSchema);
        Self {
            takes: Some(Content {
                schema,
                ..Content::json::<A>()
            }),
            ..self
        }
    }

    /// A body that is no JSON.
    pub(super) fn takes_raw(self, media_type: &'static str) -> Self {
        let schema = None;
        Self {
            takes: Some(Content { media_type, schema }),
            ..self
        }
    }

    pub(super) fn gives<T: JsonSchema>(self) -> Self {
        self.answers(200, Some(Content::json::<T>()))
    }

    pub(super) fn creates<T: JsonSchema>(self) -> Self {
        self.answers(201, Some(Content::json::<T>()))
    }

    /// A stream of such events, where `stream` is true.
    pub(super) fn streams<T: JsonSchema>(self) -> Self {
        let events = Content {
            media_type: "text/event-stream",
            ..Content::json::<T>()
        };
        self.answers(200, Some(events))
    }

    pub(super) fn gives_raw(self, media_type: &'static str) -> Self {
        let schema = None;
        self.answers(200, Some(Content { media_type, schema }))
    }

    pub(super) fn gives_nothing(self) -> Self {
        self.answers(204, None)
    }

    fn answers(mut self, status: u16, content: Option<Content>) -> Self {
        self.gives.push((status, content));
        self
    }
}

impl Api {
    /// Routes that belong together.
    pub(super) fn of(tag: &'static str) -> Self {
        Self {
            tag,
            router: Router::new(),
            operations: Vec::new(),
        }
    }

    pub(super) fn get<H: Handler<T, App>, T: 'static>(
        self,
        path: &str,
        summary: &'static str,
        handler: H,
        describe: fn(Operation) -> Operation,
    ) -> Self {
        self.add(MethodFilter::GET, "get", path, summary, handler, describe)
    }

    pub(super) fn post<H: Handler<T, App>, T: 'static>(
        self,
        path: &str,
        summary: &'static str,
        handler: H,
        describe: fn(Operation) -> Operation,
    ) -> Self {
        self.add(MethodFilter::POST, "post", path, summary, handler, describe)
    }

    pub(super) fn put<H: Handler<T, App>, T: 'static>(
        self,
        path: &str,
        summary: &'static str,
        handler: H,
        describe: fn(Operation) -> Operation,
    ) -> Self {
        self.add(MethodFilter::PUT, "put", path, summary, handler, describe)
    }

    pub(super) fn patch<H: Handler<T, App>, T: 'static>(
        self,
        path: &str,
        summary: &'static str,
        handler: H,
        describe: fn(Operation) -> Operation,
    ) -> Self {
        self.add(
            MethodFilter::PATCH,
            "patch",
            path,
            summary,
            handler,
            describe,
        )
    }

    pub(super) fn delete<H: Handler<T, App>, T: 'static>(
        self,
        path: &str,
        summary: &'static str,
        handler: H,
        describe: fn(Operation) -> Operation,
    ) -> Self {
        self.add(
            MethodFilter::DELETE,
            "delete",
            path,
            summary,
            handler,
            describe,
        )
    }

    /// The routes of both.
    pub(super) fn merge(mut self, other: Self) -> Self {
        self.operations.extend(other.operations);
        Self {
            router: self.router.merge(other.router),
            ..self
        }
    }

    /// Puts something around all routes so far.
    pub(super) fn around(self, wrap: impl FnOnce(Router<App>) -> Router<App>) -> Self {
        Self {
            router: wrap(self.router),
            ..self
        }
    }

    pub(super) fn into_parts(self) -> (Router<App>, Vec<Operation>) {
        (self.router, self.operations)
    }

    fn add<H: Handler<T, App>, T: 'static>(
        mut self,
        filter: MethodFilter,
        method: &'static str,
        path: &str,
        summary: &'static str,
        handler: H,
        describe: fn(Operation) -> Operation,
    ) -> Self {
        self.operations.push(describe(Operation {
            method,
            path: path.to_owned(),
            tag: self.tag,
            summary,
            permission: None,
            query: None,
            takes: None,
            gives: Vec::new(),
        }));
        Self {
            router: self.router.route(path, on(filter, handler)),
            ..self
        }
    }
}
