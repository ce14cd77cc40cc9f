//! Has a multivariant playlist tell players of content steering (RFC 8216bis section 4.4.6.6).
//!
//! Inserts the tag after those of the header, and `PATHWAY-ID` at each variant without one, which would belong to the pathway
//! `.` otherwise (section 4.4.6.2). All other bytes stay as they are.

use super::attributes::Attributes;
use crate::config::model::SteeringTag;

/// The tag that is inserted.
const STEERING: &str = "#EXT-X-CONTENT-STEERING:";

/// Tags of variants, which belong to pathways.
const VARIANTS: [&str; 2] = ["#EXT-X-STREAM-INF:", "#EXT-X-I-FRAME-STREAM-INF:"];

/// Tags that stand at the head of a playlist; the inserted one goes behind the last of them.
const HEAD: [&str; 5] =
    ["#EXTM3U", "#EXT-X-VERSION", "#EXT-X-INDEPENDENT-SEGMENTS", "#EXT-X-START", "#EXT-X-DEFINE"];

/// The playlist with the tag in it. None: it stays as it is, for it has no variants, or has a tag that is not to be replaced.
pub fn insert(text: &str, tag: &SteeringTag) -> Option<String> {
    let lines = || text.split_inclusive('\n');
    if !text.trim_start_matches('\u{feff}').starts_with("#EXTM3U")
        || !lines().any(|line| line.starts_with(VARIANTS[0]))
        || (!tag.replace && lines().any(|line| line.starts_with(STEERING)))
    {
        return None;
    }
    let at = end_of_head(text);
    let eol = if lines().next()?.ends_with("\r\n") { "\r\n" } else { "\n" };
    let mut out = String::with_capacity(text.len() + text.len() / 8 + 256);
    let mut start = 0;
    let mut inserted = false;
    for line in lines() {
        if start == at && !inserted {
            inserted = true;
            let SteeringTag { server_uri, pathway, .. } = tag;
            out.push_str(&format!("{STEERING}SERVER-URI=\"{server_uri}\",PATHWAY-ID=\"{pathway}\"{eol}"));
        }
        start += line.len();
        if !line.starts_with(STEERING) {
            push_line(&mut out, line, &tag.pathway);
        }
    }
    (inserted && out != text).then_some(out)
}

/// The line, with the pathway at its end if it is that of a variant without one.
fn push_line(out: &mut String, line: &str, pathway: &str) {
    let list = VARIANTS.iter().find_map(|name| line.strip_prefix(name));
    if !list.is_some_and(|list| Attributes::of(list).all(|attribute| attribute.name != "PATHWAY-ID")) {
        return out.push_str(line);
    }
    let said = line.trim_ascii_end();
    let comma = if said.ends_with([',', ':']) { "" } else { "," };
    let rest = line.get(said.len()..).unwrap_or_default();
    out.push_str(&format!("{said}{comma}PATHWAY-ID=\"{pathway}\"{rest}"));
}

/// Where the last of the head's tags ends, comments and empty lines between them passed over.
fn end_of_head(text: &str) -> usize {
    let (mut at, mut end) = (0, 0);
    for line in text.split_inclusive('\n') {
        at += line.len();
        let bare = line.trim_start_matches('\u{feff}').trim_ascii();
        if HEAD.iter().any(|name| is_tag(bare, name)) {
            end = at;
        } else if !bare.is_empty() && (bare.starts_with("#EXT") || !bare.starts_with('#')) {
            break;
        }
    }
    end
}

fn is_tag(line: &str, name: &str) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::hls::read;
    use proptest::prelude::*;

    fn tag(replace: bool) -> SteeringTag {
        SteeringTag { server_uri: "/steering.json".to_owned(), pathway: "edge".to_owned(), replace }
    }

    #[test]
    fn the_tag_goes_behind_the_head_and_each_variant_gets_the_pathway() {
        let text = "#EXTM3U\r\n#EXT-X-VERSION:6\r\n# made today\r\n#EXT-X-INDEPENDENT-SEGMENTS\r\n\r\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"A\",URI=\"a.m3u8\"\r\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1,mp4a,PATHWAY-ID=\",AUDIO=\"a\" \r\nv.m3u8\r\n\
            #EXT-X-STREAM-INF:PATHWAY-ID=\"b\",BANDWIDTH=1\r\nhttps://b.example/v.m3u8\r\n\
            #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i.m3u8\"\r\n#EXT-X-STREAM-INF:BANDWIDTH=2,\r\nw.m3u8";
        let expected = "#EXTM3U\r\n#EXT-X-VERSION:6\r\n# made today\r\n#EXT-X-INDEPENDENT-SEGMENTS\r\n\
            #EXT-X-CONTENT-STEERING:SERVER-URI=\"/steering.json\",PATHWAY-ID=\"edge\"\r\n\r\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"A\",URI=\"a.m3u8\"\r\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1,mp4a,PATHWAY-ID=\",AUDIO=\"a\",PATHWAY-ID=\"edge\" \r\nv.m3u8\r\n\
            #EXT-X-STREAM-INF:PATHWAY-ID=\"b\",BANDWIDTH=1\r\nhttps://b.example/v.m3u8\r\n\
            #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i.m3u8\",PATHWAY-ID=\"edge\"\r\n\
            #EXT-X-STREAM-INF:BANDWIDTH=2,PATHWAY-ID=\"edge\"\r\nw.m3u8";
        assert_eq!(insert(text, &tag(false)).unwrap(), expected);
        assert_eq!(insert(expected, &tag(false)), None, "it has the tag");
        assert_eq!(insert(expected, &tag(true)), None, "and would get the same");
    }

    #[test]
    fn an_origins_tag_stays_unless_it_is_to_be_replaced() {
        let own = "#EXT-X-CONTENT-STEERING:SERVER-URI=\"https://o.example/s\",PATHWAY-ID=\"o\"\n";
        let rest = "#EXT-X-STREAM-INF:BANDWIDTH=1,PATHWAY-ID=\"o\"\nv.m3u8\n";
        let text = format!("#EXTM3U\n{rest}{own}");
        assert_eq!(insert(&text, &tag(false)), None);
        let ours = "#EXT-X-CONTENT-STEERING:SERVER-URI=\"/steering.json\",PATHWAY-ID=\"edge\"\n";
        assert_eq!(insert(&text, &tag(true)).unwrap(), format!("#EXTM3U\n{ours}{rest}"));
    }

    #[test]
    fn what_lists_no_variants_stays_as_it_is() {
        for text in [
            "",
            "#EXTM3U\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n",
            "#EXT-X-STREAM-INF:BANDWIDTH=1\na\n",
        ] {
            assert_eq!(insert(text, &tag(true)), None, "{text}");
        }
    }

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("#EXT-X-VERSION:7".to_owned()),
            Just("#EXT-X-DEFINE:NAME=\"a\",VALUE=\"b\"".to_owned()),
            Just("#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8".to_owned()),
            Just("#EXT-X-STREAM-INF:BANDWIDTH=1,PATHWAY-ID=\"x\"\nv.m3u8".to_owned()),
            Just("#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i.m3u8\"".to_owned()),
            Just("#EXT-X-SESSION-DATA:DATA-ID=\"a\",VALUE=\"PATHWAY-ID\"".to_owned()),
            Just(String::new()),
            "# [ -~]{0,20}",
        ]
    }

    proptest! {
        /// Nothing but the tag and the pathways is new: without them it is the text that went in, byte for byte.
        #[test]
        fn without_what_was_inserted_it_is_the_same_text(
            lines in prop::collection::vec(line(), 0..12),
            crlf: bool,
            ends: bool,
        ) {
            let mut text = format!("#EXTM3U\n{}\n#EXT-X-STREAM-INF:BANDWIDTH=9\nlast.m3u8", lines.join("\n"));
            if ends { text.push('\n'); }
            if crlf { text = text.replace('\n', "\r\n"); }
            let out = insert(&text, &tag(false)).unwrap();
            let back: String = out.split_inclusive('\n').filter(|line| !line.starts_with(STEERING)).collect();
            prop_assert_eq!(back.replace(",PATHWAY-ID=\"edge\"", ""), text);
            prop_assert_eq!(out.matches(STEERING).count(), 1);
            let variants = out.split('\n').filter(|line| VARIANTS.iter().any(|name| line.starts_with(name)));
            prop_assert!(variants.clone().all(|line| line.matches("PATHWAY-ID=").count() == 1));
            prop_assert!(read::read(out.as_bytes()).is_ok_and(|facts| facts.multivariant));
        }
    }
}
