//! The server from outside: over its router, and on a real listener.

// As test modules, so that helpers too may unwrap.
#[cfg(test)]
mod administration;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod chat;
#[cfg(test)]
mod common;
#[cfg(test)]
mod cors;
#[cfg(test)]
mod echo;
#[cfg(test)]
mod embeddings;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod life;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod listener;
#[cfg(test)]
mod loading;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod places;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod records;
#[cfg(test)]
mod responses;
#[cfg(test)]
mod signatures;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod tools;
