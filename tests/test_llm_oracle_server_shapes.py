"""What servers differ in: caps, token ids, names of parameters, errors in a 200, and what is shown.

The refusals are those of OpenAI, Azure, vLLM and Together, as issues about them quote them.
"""

# ruff: noqa: F811 (an imported fixture is an argument's name too)

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from test_llm_oracle_server import dataset, judge_on, make_requests  # noqa: F401 (a fixture)

from llm_oracle import cli
from llm_oracle.cache import cache_stats
from llm_oracle.judge import JudgeError
from llm_oracle.judges.build import build_judge
from llm_oracle.language_model import connection
from llm_oracle.language_model.connection import Connection, ServerError
from llm_oracle.language_model.evidence import label_of, read_labels
from llm_oracle.language_model.server import Server
from llm_oracle.scoring.label import above_none
from recsim_envs.errors import DataError

KEY = "sk-0123456789abcdef"
LABELS = "abcdef"
PROBABILITIES = [0.5, 0.2, 0.1, 0.05, 0.02, 0.03]
TOP = {f" {label}": float(np.log(p)) for label, p in zip(LABELS, PROBABILITIES, strict=True)}
IDS = {f" {label}": 300 + number for number, label in enumerate(LABELS)}


class Fake(ThreadingHTTPServer):
    """Answers with what ``answer(path, request)`` returns: a status, a body and headers."""

    daemon_threads = True

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url, self.answer, self.requests = f"http://127.0.0.1:{self.server_port}/v1", answer, []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, request))
        status, body, *headers = self.server.answer(self.path, request)
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **dict(*headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def serve():
    """Starts fakes, and ends them."""
    started = []

    def start(answer):
        server = Fake(answer)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


def pairs(top):
    return {"choices": [{"text": " a", "logprobs": {"top_logprobs": [top]}}]}


def chat(top, content="a"):
    entries = [{"token": token, "logprob": value} for token, value in top.items()]
    logprobs = {"content": [{**entries[0], "top_logprobs": entries}]} if entries else None
    return {"choices": [{"message": {"content": content}, "logprobs": logprobs}]}


def expected(judge, requests, values):
    """The scores of what is said of each label."""
    (question,) = judge.questions(*requests)
    return above_none(np.array(values), question.order)


@pytest.mark.parametrize(
    ("cap", "refusal"),
    [
        (5, "Invalid value for 'top_logprobs': must be less than or equal to 5."),
        (1, "{n} is greater than the maximum of 1 - 'logprobs'"),
        (6, "Requested sample logprobs of {n}, which is greater than max allowed: 6"),
    ],
)
def test_a_cap_is_found_once_and_said(serve, dataset, caplog, cap, refusal):
    def answer(path, request):
        n = request["top_logprobs"]
        if n > cap:
            return 400, {"error": {"message": refusal.format(n=n), "code": 400}}
        return 200, chat(dict(list(TOP.items())[:n]))

    server = serve(answer)
    judge = judge_on(dataset, server, path="/chat/completions")
    judge.scores(*make_requests(12))
    asked = [request["top_logprobs"] for _, request in server.requests]
    least = max(n for n in (1, 5, 20) if n <= cap)
    assert asked[-12:] == [least] * 12
    assert asked[:-12] == [n for n in (20, 5) if n > cap]
    assert f"refused 20 log-probabilities a question; asking for {least}" in caplog.text
    requests = make_requests(1)
    rest = np.log((1 - sum(PROBABILITIES[:least])) / (6 - least))
    floor = min(np.log(PROBABILITIES[least - 1] / 2), rest)
    values = [*np.log(PROBABILITIES[:least]), *[floor] * (6 - least)]
    assert judge.scores(*requests)[0] == pytest.approx(expected(judge, requests, values), abs=1e-5)


@pytest.mark.parametrize("honoured", [True, False])
def test_vllm_is_asked_for_the_labels_own_tokens(serve, dataset, honoured):
    def answer(path, request):
        if path == "/tokenize":
            tokens = ["select", *request["prompt"].removeprefix("select").split()]
            marked = [tokens[0], *(f"Ġ{token}" for token in tokens[1:])]
            return 200, {
                "tokens": [7, *(IDS[f" {token}"] for token in tokens[1:])],
                "token_strs": marked if request["return_token_strs"] else None,
            }
        assert request["logprob_token_ids"] == list(IDS.values())
        top = {" the": np.log(0.09)} | {f"token_id:{IDS[t]}": value for t, value in TOP.items()}
        if not honoured:  # an older vLLM answers with the likeliest alone
            top = {f"token_id:{IDS[' a']}": TOP[" a"], "token_id:9": -1.0}
        return 200, pairs(top)

    server = serve(answer)
    judge = judge_on(dataset, server)
    requests = make_requests(1)
    scores = judge.scores(*requests)[0]
    if honoured:
        assert scores == pytest.approx(expected(judge, requests, np.log(PROBABILITIES)), abs=1e-5)
        assert judge.scoring.masses == (pytest.approx(0.9), 1)
    else:
        assert np.count_nonzero(scores) == 1
        assert judge.scoring.masses == (pytest.approx(0.5), 1)
    judge.scores(*make_requests(3, seed=1))
    assert [path for path, _ in server.requests].count("/tokenize") == 1


def test_new_models_want_another_name_for_the_limit(serve, dataset):
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead."
    )

    def answer(path, request):
        if "max_tokens" in request:
            return 400, {"error": {"message": message, "code": "unsupported_parameter"}}
        assert request["max_completion_tokens"] == 1
        return 200, chat(TOP)

    server = serve(answer)
    judge_on(dataset, server, path="/chat/completions").scores(*make_requests(3))
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no such model", "code": "model_not_found"}}, "no such model"),
        ({"object": "error", "message": "no such model", "code": 404}, "404: .*no such model"),
        ({"choices": []}, "sent no answer but"),
        ({"choices": [{"text": " a"}]}, r"sent no log-probabilities .*in @answer"),
        ({"choices": [{"text": " a", "logprobs": {"top_logprobs": [None]}}]}, "no log-prob"),
        (pairs({" a": None}), "sent no log-probabilities"),
        (pairs({" a": float("-inf")}), r"-inf is no log-probability \(of the token ' a'\)"),
        (pairs({" a": float("nan")}), "nan is no log-probability"),
        (pairs({" a": 0.7}), "0.7 is no log-probability"),
        (pairs({" a": -0.1, " b": -0.2}), r"add up to 1\.72"),
        (pairs({" the": -0.1, " a": -4.0}), r"labels together a probability of 0.018, less than "),
        (pairs({" I": -0.1}), "wants to say ' I' \\(90%\\)"),
    ],
)
def test_what_is_no_verdict_is_an_error_and_not_kept(
    serve,
    dataset,
    tmp_path,
    body,
    message,
):
    server = serve(lambda path, request: (200, body))
    file = tmp_path / "verdicts.sqlite"
    judge = judge_on(dataset, server, cache=file)
    with pytest.raises(JudgeError, match=message):
        judge.scores(*make_requests(1))
    assert cache_stats(file)[0]["verdicts"] == 0
    server.answer = lambda path, request: (200, pairs(TOP))
    assert judge.choose(*make_requests(1)).tolist() != [-1]  # the repaired server is asked again


def test_a_transient_error_in_a_200_is_tried_again(serve, dataset):
    answers = [
        (200, {"error": {"message": "upstream is down", "code": 502}}),
        (200, pairs(TOP)),
    ]
    server = serve(lambda path, request: (404, {}) if "token" in path else answers.pop(0))
    judge_on(dataset, server, backoff=0.001).scores(*make_requests(1))
    assert not answers


@pytest.mark.parametrize("path", ["", "/chat/completions"])
def test_answers_without_log_probabilities_choose(serve, dataset, path):
    said = ["b"]

    def answer(path, request):
        assert not {"logprobs", "top_logprobs"} & set(request)
        if path == "/tokenize":
            return 404, {}
        return 200, {"choices": [{"text": f" {said[0]}", "message": {"content": said[0]}}]}

    server = serve(answer)
    judge = judge_on(dataset, server, path=path, scoring="answer")
    assert judge.name == "model/server/answer"
    requests = make_requests(1)
    (question,) = judge.questions(*requests)
    assert judge.choose(*requests).tolist() == [question.order[1]]
    said[0] = "F"
    assert judge.choose(*requests).tolist() == [-1]
    said[0] = "Sure"
    with pytest.raises(ServerError, match=r"answered ' ?Sure', none of the labels a/b"):
        judge.choose(*requests)


@pytest.mark.parametrize(
    ("token", "label"),
    [("▁a", "a"), ("Ġa", "a"), (" A", "a"), ("a\n", "a"), ("▁ B", "b"), ("I", "I"), ("i", "i")],
)
def test_tokens_become_labels(token, label):
    assert label_of(token) == label


def test_a_label_in_several_forms_counts_once():
    answer = read_labels({"▁a": -1.0, "A": -2.0, "Ġb": -1.5, "x": -9999.0}, "ab")
    assert answer.values == pytest.approx([-1.0, -1.5])
    assert answer.mass == pytest.approx(np.exp(-1) + np.exp(-1.5))


def test_a_key_is_shown_nowhere(serve, dataset, capsys, caplog, tmp_path, monkeypatch):
    def answer(path, request):
        return 401, {"error": {"message": f"Incorrect API key provided: {KEY}."}}

    caplog.set_level("INFO", "recsim")
    server = serve(answer)
    monkeypatch.setenv("SOME_KEY", f" {KEY}\n")
    cache = tmp_path / "v.sqlite"
    judge = build_judge(f"{server.url}#m", dataset, cache=cache, api_key_env="SOME_KEY")
    with pytest.raises(ServerError, match=r"answered 401: .*provided: \*\*\*") as caught:
        judge.choose(*make_requests(1))
    judge.cache.close()
    shown = str(caught.value) + "".join(capsys.readouterr()) + caplog.text
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert KEY not in shown + repr(judge.model.describe()) and KEY.encode() not in files
    for broken in (f"{KEY}\n{KEY}", f"{KEY} b", f"{KEY}é"):
        with pytest.raises(DataError, match="holds white space or characters") as refused:
            Server(server.url, "m", api_key=broken)
        assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@host/v1",
        "http://user:sec#ret@host/v1",
        "https://host/v1?api_key=secret",
        "https://host/v1?api_key=secret#m",
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(dataset, url):
    with pytest.raises(DataError, match="leave them out") as refused:
        build_judge(url, dataset)
    assert "sec" not in str(refused.value).replace("--api-key-env", "")


def test_a_pause_that_a_server_names_is_capped_and_shown(serve, caplog, monkeypatch):
    monkeypatch.setattr(connection, "LONGEST_PAUSE", 0.05)
    answers = [(429, {}, {"Retry-After": "3600"}), (200, {"fine": True})]
    server = serve(lambda path, request: answers.pop(0))
    link = Connection(server.url, None, 1, 2.0, 3, 0.001, None)
    start = time.monotonic()
    assert link.post({}, threading.Event()) == (200, '{"fine": true}')
    assert time.monotonic() - start < 30
    assert "answered 429" in caplog.text
    assert "in 0.1 s (it asks for 3600 s)" in caplog.text


def test_a_server_that_is_down_is_reported_while_it_is_waited_for(dataset, caplog):
    judge = judge_on(dataset, "http://127.0.0.1:9", retries=1, backoff=0.001)
    with pytest.raises(ServerError, match="gave no answer"):
        judge.scores(*make_requests(1))
    assert "http://127.0.0.1:9/" in caplog.text


def test_no_more_requests_are_sent_than_allowed(serve, dataset, tmp_path):
    server = serve(lambda path, request: (404, {}) if "token" in path else (200, pairs(TOP)))
    file = tmp_path / "v.sqlite"
    judge = judge_on(dataset, server, max_requests=10, cache=file)
    with pytest.raises(ServerError, match="10 requests are sent, as many as max_requests allows"):
        judge.scores(*make_requests(30))
    assert len(server.requests) == 10
    assert cache_stats(file)[0]["verdicts"] == 9  # one asked for the labels' tokens


def test_the_command_ends_in_one_line(serve, monkeypatch, tmp_path):
    server = serve(lambda path, request: (401, {"error": {"message": "who are you?"}}))
    monkeypatch.setenv("SOME_KEY", KEY)
    arguments = ["judge-report", "replica/coat", "--judges", f"{server.url}#m", "--n", "2"]
    arguments += ["--output", str(tmp_path), "--api-key-env", "SOME_KEY", "--max-requests", "9"]
    monkeypatch.setattr(sys, "argv", ["recsim", *arguments])
    with pytest.raises(SystemExit, match=r"^recsim: 1 of 2 questions failed: .*who are you\?"):
        cli.main()


def test_what_is_spent_is_counted(serve, dataset):
    answer = pairs(TOP) | {"usage": {"total_tokens": 250}}
    server = serve(lambda path, request: (404, {}) if "token" in path else (200, answer))
    judge = judge_on(dataset, server, dollars_per_million_tokens=2.0)
    judge.scores(*make_requests(3))
    assert "4 requests, " in judge.model.spent()
    assert judge.model.spent().endswith("0.8k tokens, $0.00, $0.38 per 1,000 requests")
