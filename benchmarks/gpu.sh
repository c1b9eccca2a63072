#!/bin/sh
# Every GPU check and benchmark, in under 8 minutes and without a network: tests, training (BERT-base and RoBERTa-large
# sizes), embedding, answering and serving. The limits below add up to 475 s.
#
#     benchmarks/gpu.sh            results under runs/gpu, or $OUT
#     benchmarks/gpu.sh --tiny     toy sizes on any machine: shows that the scripts run, measures nothing
#
# Needs torch 2.11, transformers 5.17, sentence-transformers, accelerate, peft, pyarrow, regex, pytest, and for serving
# fastapi, uvicorn, prometheus-client and fastapi-offline; the package need not be installed. What fails does not keep the
# rest from running; the exit status tells of it.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-runs/gpu}
PYTHON=${PYTHON:-python3}
PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}"
HF_HUB_OFFLINE=1
export PYTHONPATH HF_HUB_OFFLINE
mkdir -p "$OUT"
status=0

run() { # seconds, log, command: the log is shown as well
    limit=$1 log=$OUT/$2
    shift 2
    echo "== $*"
    timeout "$limit" "$@" >"$log" 2>&1
    code=$?
    tail -n 60 "$log"
    [ "$code" -eq 0 ] || { echo "== failed with $code; see $log"; status=1; }
}

run 90 tests.txt "$PYTHON" -m pytest tests/gpu -m gpu -p no:cacheprovider
for size in base large; do
    run 110 "training-$size.txt" "$PYTHON" benchmarks/gpu_training.py --size "$size" --work "$OUT/work" \
        --results "$OUT/training-$size.json" "$@"
done
run 70 embedding.txt "$PYTHON" benchmarks/gpu_embedding.py --work "$OUT/work" --results "$OUT/embedding.json" "$@"
run 40 answering.txt "$PYTHON" benchmarks/gpu_answering.py --work "$OUT/work" --results "$OUT/answering.json" "$@"
run 55 serving.txt "$PYTHON" benchmarks/gpu_serving.py --work "$OUT/work" --results "$OUT/serving.json" "$@"
exit $status
