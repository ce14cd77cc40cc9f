//! `keygen`: every key that is made signs and verifies, and none is written over another.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn every_format_signs_with_a_key_that_was_made_for_it() {
    for word in crate::config::formats::Word::ALL.map(crate::config::formats::Word::as_str) {
        let folder = folder();
        let pairs: &[&str] = match word {
            "jwt" | "cdni" => &["shared", "es256", "eddsa"],
            "cat" => &["shared", "es256"],
            "cloudfront" => &["es256"],
            "media_cdn" => &["shared", "eddsa"],
            _ => &["shared"],
        };
        for algorithm in pairs {
            let file = folder.path().join(algorithm).display().to_string();
            let make = ["keygen", "--format", word, "--algorithm", algorithm, "--out", &file];
            let told = printed(&folder, &make);
            let public = format!("{file}.pub");
            let (signs, verifies) = match *algorithm {
                "shared" => (["--key-file", &file], ["--key-file", &file]),
                _ => {
                    assert!(told.contains(&public), "{told}");
                    (["--private-key-file", &file], ["--public-key-file", &public])
                }
            };
            let mut settings = vec!["--format", word];
            settings.extend(match word {
                "jwt" => &["--set", "claims.path=glob"][..],
                "cloudflare" => &["--set", "ttl=1h"],
                "secure_link" => &["--set", "expression=$secure_link_expires$uri $secret"],
                _ => &[],
            });
            let sign = [&["sign"], &settings[..], &signs, &["https://live.example/live/ch1/a.m3u8"]].concat();
            let url = printed(&folder, &sign);
            for keys in [signs, verifies] {
                let verify = [&["verify"], &settings[..], &keys, &[&url]].concat();
                let (code, shown) = run_in(&folder, &verify).unwrap();
                assert_eq!(code, 0, "{word} {algorithm}: {shown}");
            }
            for file in [&file, &public].into_iter().filter(|file| std::path::Path::new(file).exists()) {
                let mode = std::fs::metadata(file).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{file}");
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let message = run_in(&folder, &make).unwrap_err();
            assert!(message.contains("written over"), "{message}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "a key is not written over");
        }
    }
}

#[test]
fn a_pair_whose_public_file_exists_is_not_made() {
    let folder = folder();
    let file = folder.path().join("pair");
    std::fs::write(folder.path().join("pair.pub"), "mine").unwrap();
    let make = ["keygen", "--format", "jwt", "--algorithm", "ES256", "--out", &file.display().to_string()];
    assert!(run_in(&folder, &make).unwrap_err().contains("pair.pub: it exists"));
    assert!(!file.exists(), "no half of a pair is left");
}

#[test]
fn a_key_that_a_format_does_not_have_is_named_with_its_remedy() {
    let folder = folder();
    for (words, part) in [
        (vec!["--format", "jwt", "--algorithm", "es256"], "give --out FILE"),
        (vec!["--format", "jwt", "--algorithm", "rs256", "--out", "x"], "openssl genpkey -algorithm RSA"),
        (vec!["--format", "cat", "--algorithm", "eddsa", "--out", "x"], "write --algorithm es256"),
        (vec!["--format", "media_cdn", "--algorithm", "es256", "--out", "x"], "write --algorithm eddsa"),
        (vec!["--algorithm", "es256", "--out", "x"], "leave --algorithm out"),
        (vec!["--format", "cloudfront", "--algorithm", "shared"], "write --algorithm es256"),
        (vec!["--format", "jws"], "write one of edgeauth, jwt"),
    ] {
        let message = run_in(&folder, &[&["keygen"], words.as_slice()].concat()).unwrap_err();
        assert!(message.contains(part), "{words:?}: {message}");
    }
}
