//! The list of what is measured, by group and name: what takes the time of cases and what counts their instructions are both
//! made of it.

/// Hands the list to a macro. Of each group first what is both timed and counted, then what is timed alone: what several
/// threads do at once, and what the system has a part in.
macro_rules! each_case {
    ($with:ident) => {
        $with! {
            key { segment reload respelled }
            token { edgeauth_cold edgeauth_warm jwt_hs256_cold jwt_es256_cold jwt_es256_warm }
            store { hit miss } + threads(4) { hit miss }
            freshness { segment live_playlist live_playlist_read }
            range { one eight }
            playlist { split_live split_vod gather_live gather_vod }
            hit { in_memory_4k in_memory_playlist } + timed { loopback_4k loopback_playlist loopback_512k }
        }
    };
}

pub(crate) use each_case;
