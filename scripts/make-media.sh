#!/bin/sh
# Makes the demo's media: a test picture with a running timecode and a beep each second, 24 s, H.264 and AAC in
# fragmented MP4, three renditions. The output, src/demo/media, is committed; run this only to change it.
#
# Every number below holds the loop exact:
#   24 frames a second     a part of 0.5 s is 12 pictures, a segment of 2 s is 48, one group of pictures
#   48 kHz, 1024 samples   24 s are 1125 whole AAC frames, so picture and sound end together
#   no B-frames            presentation order is decoding order; nothing reaches over the end of the loop
# The sound is cut out of a longer encoding, so that the encoder's start-up delay is not part of the loop.
#
# Usage: scripts/make-media.sh [output folder]
set -eu

out=${1:-$(dirname "$0")/../src/demo/media}
loop_seconds=24
part_seconds=0.5
parts_per_segment=4

for tool in ffmpeg; do
    command -v "$tool" >/dev/null || { echo "make-media: $tool is missing: apt-get install $tool" >&2; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

ffmpeg -v error -f lavfi -i "sine=frequency=220:beep_factor=4:sample_rate=48000" -t 40 \
    -af volume=0.5 -ac 1 -c:a aac -b:a 40k -bitexact -f adts "$work/long.aac"
ffmpeg -v error -i "$work/long.aac" -ss 8 -t "$loop_seconds" -c copy -f adts "$work/loop.aac"

# rendition NAME WIDTH HEIGHT LEVEL VIDEO_KBIT
rendition() {
    mkdir -p "$work/$1"
    ffmpeg -v error -f lavfi -i "testsrc2=size=$2x$3:rate=24" -i "$work/loop.aac" -t "$loop_seconds" \
        -map 0:v -map 1:a -pix_fmt yuv420p -bitexact \
        -c:v libx264 -profile:v main -level:v "$4" -preset veryslow -tune animation -threads 1 \
        -b:v "$5k" -maxrate "$5k" -bufsize "$5k" \
        -x264-params bframes=0:keyint=48:min-keyint=48:scenecut=0:open-gop=0 \
        -c:a copy -bsf:a aac_adtstoasc -f hls -hls_segment_type fmp4 -hls_playlist_type vod -hls_flags split_by_time \
        -hls_time "$part_seconds" -hls_fmp4_init_filename init.mp4 \
        -hls_segment_filename "$work/$1/part-%d.m4s" "$work/$1/index.m3u8"
    rm -rf "${out:?}/$1"
    mkdir -p "$out/$1"
    cp "$work/$1/init.mp4" "$out/$1/init.mp4"
    parts=$(find "$work/$1" -name 'part-*.m4s' | wc -l)
    segment=0
    while [ $((segment * parts_per_segment)) -lt "$parts" ]; do
        first=$((segment * parts_per_segment))
        : >"$out/$1/seg-$segment.m4s"
        for part in 0 1 2 3; do
            cat "$work/$1/part-$((first + part)).m4s" >>"$out/$1/seg-$segment.m4s"
        done
        segment=$((segment + 1))
    done
}

rendition 180p 320 180 3.0 120
rendition 360p 640 360 3.0 280
rendition 540p 960 540 3.1 520

find "$out" -type f -exec cat {} + | wc -c | awk '{ printf "make-media: %d bytes\n", $1 }'
