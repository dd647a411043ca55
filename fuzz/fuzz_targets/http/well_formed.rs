//! Whether what came on a connection is HTTP, as far as it goes: the last answer may be cut off.

/// What every connection of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// RFC 9113, section 4.2: the largest frame to who has not asked for larger ones.
const FRAME_BYTES_MAX: usize = 16_384;

/// # Errors
/// What is wrong with `answer`, which was given to `question`.
pub(crate) fn check(question: &[u8], answer: &[u8]) -> Result<(), String> {
    match question.starts_with(PREFACE) {
        true => frames(answer),
        // Only an answer to HEAD announces a body that does not come.
        false => answers(answer, question.windows(4).any(|word| word == b"HEAD")),
    }
}

/// RFC 9112.
fn answers(mut rest: &[u8], may_lack_body: bool) -> Result<(), String> {
    while !rest.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(rest).map_err(|error| error.to_string())?;
        let httparse::Status::Complete(len) = parsed else {
            return Ok(());
        };
        rest = &rest[len..];
        if may_lack_body && (rest.is_empty() || rest.starts_with(b"HTTP/")) {
            continue;
        }
        rest = body(&head, rest)?;
    }
    Ok(())
}

/// What follows the body.
fn body<'a>(head: &httparse::Response<'_, '_>, rest: &'a [u8]) -> Result<&'a [u8], String> {
    let status = head.code.ok_or("no status")?;
    if (100..200).contains(&status) || status == 204 {
        return Ok(rest);
    }
    match (
        header(head, "content-length"),
        header(head, "transfer-encoding"),
    ) {
        (Some(len), None) => {
            let len: usize = len.parse().map_err(|_| format!("a length of {len:?}"))?;
            Ok(rest.get(len..).unwrap_or_default())
        }
        (None, Some("chunked")) => chunks(rest),
        // HTTP/1.0: up to the end of the connection.
        (None, None) => Ok(&[]),
        both => Err(format!("a body of {both:?}")),
    }
}

fn header<'a>(head: &'a httparse::Response<'_, '_>, name: &str) -> Option<&'a str> {
    let mut headers = head.headers.iter();
    let found = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(found.value).ok()
}

fn chunks(mut rest: &[u8]) -> Result<&[u8], String> {
    loop {
        let parsed = httparse::parse_chunk_size(rest).map_err(|_| "no size of a chunk")?;
        let httparse::Status::Complete((digits, len)) = parsed else {
            return Ok(&[]);
        };
        let len = usize::try_from(len).map_err(|error| error.to_string())?;
        let Some(after) = rest.get(digits + len..).filter(|after| after.len() >= 2) else {
            return Ok(&[]);
        };
        rest = after
            .strip_prefix(b"\r\n")
            .ok_or("a chunk longer than it says")?;
        if len == 0 {
            return Ok(rest);
        }
    }
}

/// RFC 9113, section 4.1.
fn frames(mut rest: &[u8]) -> Result<(), String> {
    let mut is_first = true;
    while let Some((head, after)) = rest.split_at_checked(9) {
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let kind = head[3];
        if len > FRAME_BYTES_MAX || kind > 9 || head[5] & 0x80 != 0 {
            return Err(format!("a frame of {head:?}"));
        }
        if is_first && kind != 4 {
            return Err(format!(
                "begins with a frame of type {kind}, and not with settings"
            ));
        }
        is_first = false;
        rest = after.get(len..).unwrap_or_default();
    }
    Ok(())
}
