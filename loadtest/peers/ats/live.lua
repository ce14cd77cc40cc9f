-- A live playlist that has ended: one viewer fetches the new one, and those who come meanwhile get what is there, as they do from
-- the other peers. With the retries of records.config alone, some or all of them go to the origin when an object ends for the
-- first time. What is not there at all is left to those retries: viewers wait for it.

function looked_up()
    if ts.http.get_cache_lookup_status() == TS_LUA_CACHE_LOOKUP_HIT_STALE then
        ts.http.config_int_set(TS_LUA_CONFIG_HTTP_CACHE_OPEN_WRITE_FAIL_ACTION, 2)
    end
end

function do_remap()
    ts.hook(TS_LUA_HOOK_CACHE_LOOKUP_COMPLETE, looked_up)
    return 0
end
