#!/bin/sh
# The whole recipe of README.md within so many minutes, from the bundled weights on, and the export at the end:
#   training/gpu.sh MINUTES RUN [cuda|cpu]
# RUN/mini is then what belongs into src/motionclone/mini. Called again with the same RUN, stages that have a
# checkpoint go on from it. Every stage has a share of the time that is left, so that slow starts do not add up.
set -eu
minutes=$1 run=$2 device=${3:-cuda}
here=$(cd "$(dirname "$0")" && pwd)
mini=$here/../src/motionclone/mini
python=${PYTHON:-python}
end=$(($(date +%s) + minutes * 60))
left=100
if [ "$device" = cuda ]; then
    workers=$(nproc) scenes=64 stills=512 clips=32 pairs=8
else
    export OMP_NUM_THREADS=1
    workers=0 scenes=4 stills=16 clips=1 pairs=1
fi

# share N: minutes for a stage, N of the hundredths that were not spent yet, less the seconds that starting takes
share() {
    awk -v left="$((end - $(date +%s)))" -v n="$1" -v of="$left" \
        'BEGIN { m = (left * n / of - 8) / 60; print (m > 0.02 ? m : 0.02) }'
}
stage() { # SHARE SCRIPT ARGUMENTS...
    own=$1 script=$2
    shift 2
    echo "== $script $1: $(share "$own") minutes"
    "$python" "$here/$script.py" "$@" --run "$run" --minutes "$(share "$own")" --device "$device"
    left=$((left - own))
}

mkdir -p "$run/mini"
[ -d "$run/tokenizer" ] || cp -r "$mini/base/tokenizer" "$run/tokenizer"
stage 7 vae --start-from "$mini/base/vae" --batch "$scenes" --workers "$workers"
if [ ! -f "$run/latents/captions.json" ]; then  # written last
    "$python" "$here/latents.py" --vae "$run/vae" --out "$run/latents" --clips 100000 --minutes "$(share 10)" \
        --workers "$workers" --device "$device"
fi
left=$((left - 10))
stage 20 denoiser images --start-from "$mini" --batch "$stills"
stage 29 denoiser video --start-from "$mini" --batch "$clips"
"$python" "$here/export.py" --run "$run" --out "$run/mini"
for kind in image sketch; do
    stage 4 control "$kind" --mini "$run/mini" --start-from "$mini/${kind}_control" --batch "$clips" \
        --clips $((minutes * pairs)) --workers "$workers"
    "$python" "$here/control.py" "$kind" --run "$run" --export "$run/mini/${kind}_control"
done
stage 4 distil --mini "$run/mini" --batch "$clips"
"$python" "$here/distil.py" --run "$run" --mini "$run/mini" --export "$run/mini/lcm"
stage 14 transformer --mini "$run/mini" --start-from "$mini/dit" --stills 0 --batch "$clips"
"$python" "$here/transformer.py" --run "$run" --export "$run/mini/dit"
stage 8 probe --out "$run/mini/clip" --scenes $((minutes * pairs * 16)) --batch 96 --workers "$workers"
echo "done: $run/mini, $((($(date +%s) - end) / 60)) minutes after the time that was given"
