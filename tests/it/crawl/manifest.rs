//! The same for manifests: every address that a player makes of base URLs, templates and lists.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::uri::{self, Url};
use super::{Crawler, HOST, node, ways};

const MANIFESTS: [(&str, &str); 3] =
    [("/live/ch1/dash/full.mpd", FULL), ("/live/ch1/dash/bare.mpd", BARE), ("/live/two.mpd", TWO)];

/// Base URLs at each level, templates and lists, with the marks of XML.
const FULL: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"dynamic\" profiles=\"a,b\">\r\n\
 <ProgramInformation moreInformationURL=\"https://edge.test/no\"><Title>BaseURL &lt;no&gt;</Title></ProgramInformation>\r\n\
 <BaseURL>top/</BaseURL><Location>manifest.mpd?x=1&amp;y=2</Location><PatchLocation ttl='6'>patch.mpp</PatchLocation>\r\n\
 <Period id=\"1\"><BaseURL>p1/</BaseURL>\r\n\
  <AdaptationSet mimeType=\"video/mp4\"><BaseURL serviceLocation=\"a\">../v/</BaseURL>\r\n\
   <SegmentTemplate timescale='1' media=\"$RepresentationID$/$Number%05d$.m4s?a&amp;b=1\" initialization='$RepresentationID$/init.mp4'/>\r\n\
   <Representation id=\"r1\" bandwidth=\"1\"/></AdaptationSet>\r\n\
  <AdaptationSet><BaseURL>/abs/a/</BaseURL><SegmentTemplate media='$Time$.m4s' initialization='/init/a.mp4' index=\"../$Time$.sidx\"/></AdaptationSet>\r\n\
  <AdaptationSet><SegmentList><Initialization sourceURL=\"s/init.mp4\" range=\"0-9\"/><SegmentURL media=\"s/1.m4s\" index='s/1.sidx'/><SegmentURL media='./s/2.m4s#t=1'/></SegmentList></AdaptationSet>\r\n\
 </Period>\r\n\
 <Period id=\"2\"><BaseURL>https://other.example/x/</BaseURL><AdaptationSet><BaseURL>y/</BaseURL><SegmentTemplate media='$Number$.m4s' initialization='/i.mp4'/></AdaptationSet>\r\n\
  <AdaptationSet><BaseURL>HTTPS://EDGE.test:8443/back/</BaseURL><Representation id='f'><BaseURL>whole.mp4</BaseURL><SegmentBase indexRange=\"0-9\"/></Representation></AdaptationSet></Period>\r\n\
 <Period id=\"3\"><BaseURL>//www.test/w</BaseURL><AdaptationSet><SegmentTemplate media='m/$Number$.m4s'/></AdaptationSet></Period>\r\n\
</MPD>";

/// No base URL at all, and a prefix.
const BARE: &str = "<d:MPD xmlns:d=\"urn:mpeg:dash:schema:mpd:2011\"><d:Period>\
<d:AdaptationSet><d:SegmentTemplate media=\"v/$Number$.m4s\" initialization=\"../init.mp4\"/></d:AdaptationSet>\
<d:AdaptationSet><d:Representation><d:BaseURL>a.mp4?x=1</d:BaseURL></d:Representation></d:AdaptationSet></d:Period></d:MPD>";

/// Two places to get all from, one of them another's.
const TWO: &str = "<MPD><BaseURL>https://edge.test/one/</BaseURL><BaseURL>/two/</BaseURL>\
<Period><AdaptationSet><SegmentTemplate media='/r/$Number$.m4s'/></AdaptationSet></Period></MPD>";

/// What a player would ask for, in the order of the text.
fn addresses(text: &str, document: &Url) -> Vec<Url> {
    let mut reader = Reader::from_str(text);
    let mut found = Vec::new();
    // The base URLs of each element that is open, and whether it has any of its own.
    let mut levels: Vec<(Vec<Url>, bool)> = vec![(vec![document.clone()], true)];
    let (mut names, mut content) = (Vec::<String>::new(), String::new());
    loop {
        let event = reader.read_event().expect("XML");
        match &event {
            Event::Start(tag) | Event::Empty(tag) => {
                content.clear();
                let name = tag.local_name().as_ref().to_owned();
                let bases = levels.last().expect("a level").0.clone();
                for attribute in tag.attributes() {
                    let attribute = attribute.expect("an attribute");
                    let is_uri = matches!(
                        (name.as_str(), attribute.key.as_ref()),
                        ("SegmentTemplate" | "SegmentURL", "media" | "initialization" | "index")
                            | ("Initialization", "sourceURL")
                    );
                    if is_uri {
                        let value = quick_xml::escape::unescape(&attribute.value).expect("a value");
                        found.extend(bases.iter().map(|base| base.join(&filled(&value))));
                    }
                }
                if matches!(event, Event::Start(_)) {
                    levels.push((bases, false));
                    names.push(name);
                }
            }
            Event::Text(text) => content.push_str(text),
            Event::GeneralRef(name) => {
                content
                    .push_str(&quick_xml::escape::unescape(&format!("&{};", &**name)).expect("a reference"));
            }
            Event::End(tag) => {
                levels.pop();
                let depth = levels.len();
                let uri = content.trim().to_owned();
                let parent = names.iter().rev().nth(1).cloned().unwrap_or_default();
                names.pop();
                match tag.local_name().as_ref() {
                    "BaseURL" => {
                        let outer = levels[depth - 2].0.clone();
                        let level = &mut levels[depth - 1];
                        if !std::mem::replace(&mut level.1, true) {
                            level.0.clear();
                        }
                        let joined: Vec<Url> = outer.iter().map(|base| base.join(&uri)).collect();
                        if parent == "Representation" {
                            // There it is the file itself.
                            found.extend(joined.iter().cloned());
                        }
                        level.0.extend(joined);
                    }
                    "Location" | "PatchLocation" => found.push(document.join(&uri)),
                    _ => {}
                }
                content.clear();
            }
            Event::Eof => return found,
            _ => {}
        }
    }
}

/// A template with its numbers.
fn filled(template: &str) -> String {
    [("$RepresentationID$", "r1"), ("$Number%05d$", "00007"), ("$Number$", "7"), ("$Time$", "900")]
        .iter()
        .fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// Every address that a manifest of the site leads to opens, and no other is touched.
#[tokio::test]
async fn every_address_of_a_manifest_opens_however_its_token_is_carried() {
    for way in ways() {
        let (origin, edge) = node(way, MANIFESTS.map(|(path, text)| (path, text.to_owned()))).await;
        for (path, text) in MANIFESTS {
            let mut crawler = Crawler::new(&edge, &origin, way);
            let url = crawler.first(path);
            let response = crawler.ask(&url).await;
            assert_eq!(response.status(), 200, "{way:?}");
            let given = std::str::from_utf8(response.whole()).expect("UTF-8");
            let base = Url::of(&format!("https://{HOST}{path}"));
            let (wanted, asked) = (addresses(text, &base), addresses(given, &url));
            assert!(wanted.len() >= 2 && wanted.len() == asked.len(), "{way:?} {given}");
            for (wanted, asked) in wanted.iter().zip(&asked) {
                let host = wanted.authority.split(':').next().unwrap_or_default();
                if !["edge.test", "www.test"].contains(&host) {
                    assert_eq!(asked, wanted, "{way:?}: an address that is not the site's");
                    continue;
                }
                assert_eq!(asked.authority, wanted.authority, "{way:?}: {wanted} became {asked}");
                let answer = crawler.ask(asked).await;
                assert_eq!(answer.status(), 200, "{way:?}: {wanted} became {asked} in {given}");
                let fetched = uri::normal(&wanted.target());
                let is_it = |request: &crate::support::origin::Recorded| request.target == fetched;
                assert!(origin.recorded().iter().any(is_it), "{way:?}: {wanted} became {asked}");
            }
        }
    }
}
