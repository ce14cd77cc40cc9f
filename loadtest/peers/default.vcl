# Varnish (7.1 of Debian 12) as it is measured: a cache in front of one origin, for HLS. Words in braces are filled in by the load
# tester. Parameters and storage stand on the command line (loadtest/src/server/varnish.rs).

vcl 4.1;

backend origin {
    .host = "{origin_host}";
    .port = "{origin_port}";
    # Loopback: an origin that takes no connection within this time is away.
    .connect_timeout = 2s;
    # The origin may hold a blocking reload for three target durations.
    .first_byte_timeout = 30s;
    .between_bytes_timeout = 10s;
}

# Who may purge.
acl operators {
    "127.0.0.0"/8;
}

sub vcl_recv {
    # What this node says about the answer is its own.
    unset req.http.X-Cache;

    if (req.method == "PURGE" || req.method == "BAN") {
        if (client.ip !~ operators) {
            return (synth(405, "Not allowed"));
        }
        if (req.method == "PURGE") {
            return (purge);
        }
        # Everything whose URL begins with that of the request. By a field of the object, so that the ban lurker can
        # remove objects that nobody asks for any more; characters with a meaning in expressions stand for themselves.
        ban("obj.http.X-Url ~ ^" + regsuball(req.url, "([][.?+*(){}^$|\\])", "\\\1"));
        return (synth(200, "Banned"));
    }

    if (req.method != "GET" && req.method != "HEAD") {
        return (pass);
    }

    # Media is the same for everybody: cookies neither choose it nor keep it from the cache.
    unset req.http.Cookie;

    if (req.restarts == 0) {
        # How long after its end an object may be served while it is fetched anew. A playlist not at all: requests that come
        # meanwhile wait for the one fetch, and nobody is shown a live edge of before.
        if (req.url ~ "\.m3u8(\?|$)") {
            set req.grace = 0s;
        } else {
            set req.grace = 10s;
        }
    } else {
        # The origin has failed: whatever is there is better than nothing (see vcl_synth).
        set req.grace = 1h;
    }
    return (hash);
}

sub vcl_hash {
    # One site, whatever it is called.
    hash_data(req.url);
    return (lookup);
}

sub vcl_hit {
    if (obj.ttl > 0s) {
        set req.http.X-Cache = "HIT";
    } else {
        set req.http.X-Cache = "STALE";
    }
    return (deliver);
}

sub vcl_miss {
    set req.http.X-Cache = "MISS";
    return (fetch);
}

sub vcl_pass {
    set req.http.X-Cache = "BYPASS";
    return (fetch);
}

sub vcl_backend_response {
    # For bans.
    set beresp.http.X-Url = bereq.url;

    # A failed origin's answer takes no object's place.
    if (beresp.status >= 500) {
        return (abandon);
    }

    # Kept for so long after its end, for when the origin fails, and to be confirmed by its ETag; req.grace says who gets it.
    set beresp.grace = 1h;
    # Viewers have the first bytes while the rest is still coming.
    set beresp.do_stream = true;

    # A segment that is not there yet is soon there.
    if (beresp.status == 404) {
        set beresp.ttl = 1s;
        set beresp.grace = 0s;
        return (deliver);
    }

    # What must not be cached is remembered (hit-for-miss), so that nobody queues behind it, but not for long: the next
    # version may be cacheable.
    if (beresp.ttl <= 0s || beresp.http.Cache-Control ~ "(?i)no-store|private" || beresp.http.Set-Cookie) {
        set beresp.uncacheable = true;
        set beresp.ttl = 1s;
        set beresp.grace = 0s;
    }
    return (deliver);
}

sub vcl_backend_error {
    # No answer at all is as good as a 5xx.
    return (abandon);
}

sub vcl_synth {
    # A fetch has failed: once more, now with what was good an hour ago.
    if (resp.status == 503 && req.restarts == 0 && (req.method == "GET" || req.method == "HEAD")) {
        return (restart);
    }
    set resp.http.X-Cache = "MISS";
    set resp.body = "";
    return (deliver);
}

sub vcl_deliver {
    unset resp.http.X-Url;
    unset resp.http.X-Varnish;
    unset resp.http.Via;
    set resp.http.X-Cache = req.http.X-Cache;
    return (deliver);
}
