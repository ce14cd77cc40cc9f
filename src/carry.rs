//! Token carrying: where in a playlist or manifest a viewer's token goes. Decided once for a text, for all viewers.
//!
//! A playlist is kept once and shared; what differs per viewer is the token, and the URIs it is added to are the same
//! for all. [`split`] finds them and says of each what is inserted and when ([`Split`]); the bytes for one viewer are
//! gathered by `deliver`. Untouched bytes stay byte for byte. [`crate::key::reference`] tells what a URI refers to.
//!
//! By [`Form::Query`] each URI of the site gets `NAME=TOKEN` as a parameter, before a fragment. By
//! [`Form::Path`] it gets `/NAME=TOKEN` before its path: URIs that are relative to a playlist that was itself requested
//! below that prefix inherit it, others are written out from the root.
//!
//! Beside a token in the path, [`Form::PathAndQuery`], each URI gets a parameter that is no token: what a rule has taken out of
//! the text that is kept (`drop_parameters`), with the viewer's own value. By query it stands with the token in one text.
//!
//! Other schemes than `http` and `https`, other hosts, and URIs that carry a token of the policy's names already are
//! left alone, and so is a URI that begins with a variable nobody knows. Of a host, the port does not count, as it does
//! not for cookies, nor for finding a site.
//!
//! In an MPD relative URIs are resolved by `BaseURL`. By path, an MPD that was not requested below the prefix is given
//! it at the MPD's own `BaseURL`s, or at a new one where it has none; what is relative below inherits it from there. By
//! query, a relative URI is touched when the nearest absolute `BaseURL` around it is on the site. Where several stand
//! side by side and not all are on one host, it is left alone: its player may take it to any of them.

mod split;

pub use split::{Edit, Form, NotSplit, Split, Syntax, Terms, Viewer, split};
