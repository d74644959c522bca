//! The user data that `nft` writes beside objects, in the form that `nft` 1.0.6 reads.
//!
//! A list of `type: u8, length: u8, value` (libnftnl's `udata.h`); integers are in host byte order. Types are those
//! of `enum nftnl_udata_*` and of each expression's `parse_udata` in nftables.

/// Set: byte order of the key.
pub(crate) const SET_KEY_BYTE_ORDER: u8 = 0;
/// Set: byte order of the data.
pub(crate) const SET_DATA_BYTE_ORDER: u8 = 1;
/// Set: the expression that `typeof` shows for the key.
pub(crate) const SET_KEY_TYPEOF: u8 = 3;
/// Set: the expression that `typeof` shows for the data.
pub(crate) const SET_DATA_TYPEOF: u8 = 4;
/// Set: whether the data is an interval.
pub(crate) const SET_DATA_INTERVAL: u8 = 6;
/// Rule, chain and element: the comment.
const COMMENT: u8 = 0;
/// What `nft` accepts as a comment, its NUL included.
const COMMENT_LIMIT: usize = 128;

/// Appends one entry.
pub(crate) fn put(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.push(kind);
    out.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(value);
}

/// Appends a 32-bit entry.
pub(crate) fn put_u32(out: &mut Vec<u8>, kind: u8, value: u32) {
    put(out, kind, &value.to_ne_bytes());
}

/// A comment as user data, cut at a character boundary to what `nft` can read.
pub(crate) fn comment(text: &str) -> Vec<u8> {
    let mut bytes = shortened(text).as_bytes().to_vec();
    bytes.push(0);
    let mut out = Vec::with_capacity(bytes.len() + 2);
    put(&mut out, COMMENT, &bytes);
    out
}

/// The longest beginning of a comment that `nft` can read back.
pub(crate) fn shortened(text: &str) -> &str {
    if text.len() < COMMENT_LIMIT {
        return text;
    }
    let end = (0..COMMENT_LIMIT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}

/// The comment in a rule's or an element's user data.
pub(crate) fn read_comment(mut udata: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = udata {
        let value = rest.get(..usize::from(*length))?;
        if *kind == COMMENT {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return String::from_utf8(text.to_vec()).ok();
        }
        udata = &rest[usize::from(*length)..];
    }
    None
}
