#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

#[test]
fn what_comes_next_is_left_out_and_all_else_stays() {
    for (raw, expected) in [
        (r#"br=1,nor="..%2Fa.ts%3Ft%3Dsecret",sid="a,nor=b",su"#, r#"br=1,sid="a,nor=b",su"#),
        (r#"nor="a",nor=b, nor = "c""#, ""),
        (r#"br=1,nor=("a,b)" "c";r="0-1"),su"#, r#"br=1,su"#),
        (r#"br=1,nor=("a";t="s,e)" "b");t="secret,c",su"#, r#"br=1,su"#),
        (r#"br=(1;v 2;a);p=2,nor=("a"),su"#, r#"br=(1;v 2;a);p=2,su"#),
        (r#"br=1,nor=("a,t=secret"#, "br=1"),
        (r#"sid="x",nor="cut"#, r#"sid="x""#),
        ("br=1,su", "br=1,su"),
    ] {
        let kept = Cmcd::without_next_object(raw);
        assert_eq!(kept, expected, "{raw}");
        assert_eq!(Cmcd::parse(&kept), Cmcd { nor: None, ..Cmcd::parse(raw) }, "{raw}");
    }
}

#[test]
fn the_next_object_is_read_in_either_version() {
    let next = |path: Option<&'static str>, range: Option<&'static str>| NextObject {
        path: path.map(Cow::Borrowed),
        range: range.map(Cow::Borrowed),
    };
    for (raw, expected) in [
        (r#"br=1,nor="..%2Fa.m4s",su"#, vec![next(Some("..%2Fa.m4s"), None)]),
        (r#"nrr="5-9",nor="a.m4s""#, vec![next(Some("a.m4s"), Some("5-9"))]),
        (r#"nrr="5-9""#, vec![next(None, Some("5-9"))]),
        (r#"nor=("a.m4s")"#, vec![next(Some("a.m4s"), None)]),
        (
            r#"bl=(100),nor=("a,(1).m4s";r="0-9" "b.m4s" "c.m4s"),su"#,
            vec![next(Some("a,(1).m4s"), Some("0-9")), next(Some("b.m4s"), None)],
        ),
        (r#"nor=(a b),su"#, vec![]),
        (r#"nor=("a.m4s""#, vec![]),
        (r#"nor=()"#, vec![]),
        ("nor=a.m4s,nrr=5", vec![]),
        ("br=1", vec![]),
    ] {
        assert_eq!(Cmcd::next_objects(raw), expected, "{raw}");
    }
}

#[test]
fn what_hls_js_sends_is_read() {
    let raw = r#"bl=21300,br=3200,bs,cid="abc",d=4004,dl=5000,mtp=25400,nor="..%2F300kbps%2Fseg35.m4v",ot=v,rtp=15000,sf=h,sid="6e2fb550-c457-11e9-bb97-0800200c9a66",su"#;
    let cmcd = Cmcd::parse(raw);
    assert_eq!(
        cmcd,
        Cmcd {
            sid: Some("6e2fb550-c457-11e9-bb97-0800200c9a66".into()),
            ot: Some("v"),
            br: Some(3200),
            bl: Some(21300),
            mtp: Some(25400),
            bs: Some(true),
            su: Some(true),
            nor: Some("..%2F300kbps%2Fseg35.m4v".into()),
            ..Cmcd::default()
        }
    );
    assert_eq!(Cmcd::session_id(raw), cmcd.sid);
}

#[test]
fn a_list_of_version_2_is_read_as_the_number_of_this_object_and_by_type() {
    let by = |numbers: &[(&str, u64)]| {
        let mut by = ByType::default();
        numbers.iter().for_each(|(name, number)| by.0[type_place(name).unwrap()] = Some(*number));
        Some(by)
    };
    let cmcd = Cmcd::parse(
        r#"bl=(2100;v 1800;a),br=(3000;v 164;a),bs=?0,d=4000,mtp=(15000),nor=("next%2Cseg.mp4" "b"),ot=a,sid="s",su,v=2"#,
    );
    assert_eq!(
        cmcd,
        Cmcd {
            sid: Some("s".into()),
            ot: Some("a"),
            br: Some(164),
            br_by: by(&[("v", 3000), ("a", 164)]),
            bl: Some(1800),
            bl_by: by(&[("v", 2100), ("a", 1800)]),
            mtp: Some(15000),
            mtp_by: None,
            bs: Some(false),
            su: Some(true),
            nor: Some("next%2Cseg.mp4".into()),
            v: Some(2),
        }
    );
    let shown = serde_json::to_value(&cmcd).unwrap();
    assert_eq!(shown["br_by"], serde_json::json!({"v": 3000, "a": 164}));
    for (raw, br, br_by) in [
        ("br=(3000;v)", Some(3000), None),
        ("br=(3000 128;a),ot=a", Some(128), None),
        ("br=(3000 128;a),ot=v", Some(3000), None),
        ("br=( 3000;v;av  128;a );p=2,ot=av", Some(3000), by(&[("v", 3000), ("av", 3000), ("a", 128)])),
        ("br=(3000;v 4000;v),ot=v", Some(3000), None),
        ("br=(3000;v=?0;a=1;x),ot=v", Some(3000), None),
        ("br=(-5 2.5 fast 7)", Some(7), None),
        ("br=()", None, None),
        ("br=(3000;v", None, None),
        ("br=(3000;v}", None, None),
        ("br=(3000)x,br=4", Some(4), None),
    ] {
        let cmcd = Cmcd::parse(raw);
        assert_eq!((cmcd.br, cmcd.br_by), (br, br_by), "{raw}");
    }
    let many = (0..100).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
    let late = Cmcd::parse(&format!("br=({many} 7;v),ot=v")).br;
    assert_eq!(late, Some(0), "what stands behind so many is not looked at");
}

#[test]
fn strings_may_hold_commas_equal_signs_and_escaped_quotes() {
    let cmcd = Cmcd::parse(r#"cid="a,b=c",sid="x\"y\\z",br=1"#);
    assert_eq!(cmcd.sid.as_deref(), Some(r#"x"y\z"#));
    assert_eq!(cmcd.br, Some(1));
}

#[test]
fn values_out_of_form_are_skipped_and_the_rest_is_kept() {
    let cmcd = Cmcd::parse("br=fast, bl=-1,ot=video,sid=unquoted,bs=maybe,,=,su=false, mtp = 7 ,x");
    assert_eq!(cmcd, Cmcd { su: Some(false), mtp: Some(7), ..Cmcd::default() });
    assert!(Cmcd::parse("").is_empty());
    assert!(Cmcd::parse(r#"sid="never closed"#).is_empty());
    assert!(Cmcd::parse(r#"sid="","#).is_empty());
}

#[test]
fn the_first_of_two_equal_keys_counts() {
    assert_eq!(Cmcd::parse("br=1,br=2").br, Some(1));
}

#[test]
fn a_session_id_beyond_its_length_is_not_one() {
    let raw = format!("sid=\"{}\"", "s".repeat(SESSION_ID_BYTES_MAX + 1));
    assert_eq!(Cmcd::session_id(&raw), None);
    assert_eq!(Cmcd::parse(&raw).sid, None);
}

#[test]
fn what_is_too_long_is_cut_after_a_complete_pair() {
    let raw = format!("br=1,cid=\"{}\",bl=2,mtp=12345678", "é".repeat(1010));
    assert!(raw.len() > CMCD_BYTES_MAX);
    let cmcd = Cmcd::parse(&raw);
    assert_eq!((cmcd.br, cmcd.bl, cmcd.mtp), (Some(1), Some(2), None));
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic_and_the_short_way_agrees(
        raw in prop_oneof![".{0,3000}", "([a-z]{2,3}(=(\"[^\"]{0,9}\\\\?\"?|[0-9]{1,21}|[a-z]{1,5}))?,? ?){0,40}"]
    ) {
        prop_assert_eq!(Cmcd::session_id(&raw), Cmcd::parse(&raw).sid);
        prop_assert!(Cmcd::next_objects(&raw).len() <= NEXT_MAX);
    }

    #[test]
    fn any_list_is_read_without_panic(raw in "nor=\\(([\"a;r= \\\\)(,é-]|0-9){0,40}") {
        prop_assert!(Cmcd::next_objects(&raw).len() <= NEXT_MAX);
        let _ = Cmcd::without_next_object(&raw);
    }

    #[test]
    fn every_session_id_comes_back_as_it_was_written(sid in "[ -~]{1,64}", br in any::<u64>()) {
        let quoted = sid.replace('\\', "\\\\").replace('"', "\\\"");
        let raw = format!("su,sid=\"{quoted}\",br={br}");
        let cmcd = Cmcd::parse(&raw);
        prop_assert_eq!(cmcd.sid.as_deref(), Some(sid.as_str()));
        prop_assert_eq!(cmcd.br, Some(br));
    }
}
