//! Bad input: each row of the table gets its exact answer, while streams are under way that must not
//! notice ([`crowd`]).
//!
//! | class | input | the test |
//! |---|---|---|
//! | admin plane | any route without the role | `administration::each_route_asks_for_its_role` |
//! | weights | pickle, `auto_map`, headers that are truncated, overlap or have 100,000 entries | `models/tests/refusals.rs`, `models/tests/headers.rs` |
//! | patterns | states that blow up | `gate/tests/gate/diagnostics.rs::patterns_that_cannot_be_run`, `gate/src/grammar/hostile.rs` |
//! | | thousands of schemas | `crates/server/tests/schemas.rs`, `gate/tests/grammar_memory.rs` |
//! | numbers | NaN, 1e400, negative, fractions, in every field of every route | [`numbers`] |
//! | | n = 10⁶, 10⁵ prompts, min_tokens above max_tokens | [`fields`] |
//! | token ids | out of the vocabulary | [`tokens`] |
//! | header | 1 MB | `slow::a_huge_header_gets_431_and_harms_nobody` |
//! | body | 10⁵ brackets, 100 MB, bad UTF-8, packed | [`bodies`] |
//! | templates | sent by a client | [`texts`] |
//! | | endless or huge, of a model | `crates/text/tests/it/chat_template.rs`, fuzz target `chat_template` |
//! | special tokens | in any text | [`texts`], `crates/text/tests/it/control_tokens.rs` |
//! | tenants | prefix cache | `scheduler/tests/scheduler/prefix_cache.rs::is_one_for_each_tenant` |
//! | keys, logs | keys in logs; CR, LF and ANSI | `crates/cli/tests/cli/logs.rs`, [`routes`], [`names`] |
//! | URLs | of images and files | [`texts`] |
//! | names | path traversal | [`names`] |
//! | clients | slow, silent, half open, hanging up | `slow`, `listener::a_reader_who_goes_away_cancels_in_every_phase`, `scripts/soak` |
//! | anything | any bytes | fuzz targets `http` and `requests` |

mod bodies;
mod crowd;
mod fields;
mod names;
mod numbers;
mod routes;
mod texts;
mod tokens;
