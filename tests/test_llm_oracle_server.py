"""The served judge, against a local HTTP server that misbehaves on purpose."""

import json
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from conftest import local_judge

from llm_oracle.cache import cache_stats
from llm_oracle.calibration import Calibration
from llm_oracle.judge import JudgeError
from llm_oracle.judges.language import LanguageModelJudge
from llm_oracle.language_model.connection import ServerError
from llm_oracle.language_model.server import Server as Model
from llm_oracle.texts.prompts import LABELS, label_order
from recsim_envs.data.reading import Reading
from recsim_envs.data.tables import from_frame

N_ITEMS, K = 60, 5
TIMEOUT = 2.0
"""Seconds; a busy machine must never make a healthy answer look like a timeout."""
FAULTS = ("429", "503", "500", "timeout", "cut", "half")


class Server(ThreadingHTTPServer):
    """Answers like a completions endpoint whose model likes every prompt's own label best."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.fault_rate = 0.0
        self.refuse = None  # a status for every request
        self.body = None  # what to send in place of an answer
        self.shape = "pairs"
        self.headers = {"Retry-After": "0"}  # of a busy server's answers
        self.served, self.faults, self.requests = Counter(), Counter(), []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.random = random.Random(0)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        server = self.server
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        request = json.loads(raw)
        if self.path == "/tokenize":  # only vLLM knows it in this form
            return self.send(404, b'{"error": "not found"}')
        with server.lock:
            server.requests.append((self.path, self.headers.get("Authorization"), request))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
            faulty = server.random.random() < server.fault_rate
            fault = server.random.choice(FAULTS) if faulty else None
            server.faults[fault] += 1
        time.sleep(0.002)
        try:
            self.answer(request.get("prompt") or request["messages"][-1]["content"], fault)
        finally:
            with server.lock:
                server.at_once -= 1

    def answer(self, prompt, fault):
        server = self.server
        if server.refuse is not None:
            return self.send(server.refuse, b'{"error": "model not found"}')
        if fault in ("429", "503", "500"):
            return self.send(int(fault), b"busy", server.headers if fault != "500" else {})
        if fault == "timeout":
            time.sleep(TIMEOUT + 0.5)
            self.close_connection = True
            return None
        if fault == "cut":
            self.close_connection = True
            return None
        body = server.body or json.dumps(completion(prompt, server.shape)).encode()
        if fault == "half":
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return None
        with server.lock:
            server.served[prompt] += 1
        return self.send(200, body)

    def send(self, status, body, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def log_probs_of(prompt):
    """What this server's model thinks: log-probabilities of the K + 1 labels."""
    rng = np.random.default_rng(sum(prompt.encode()))
    return dict(zip(LABELS, np.log(rng.dirichlet(np.ones(K + 1))).tolist(), strict=False))


def completion(prompt, shape):
    top = {f" {label}": value for label, value in log_probs_of(prompt).items()} | {" the": -20.0}
    logprobs = {"top_logprobs": [top]}
    if shape == "echo":
        prompt_entries = [None, {"The": -1.0, " a": -0.1}]
        return {
            "choices": [
                {"text": f"{prompt} a", "logprobs": {"top_logprobs": [*prompt_entries, top]}}
            ]
        }
    if shape == "nulls":
        logprobs = {"top_logprobs": [top | {" never": None}]}
    if shape in ("list", "chat"):
        entries = [{"token": token, "logprob": value} for token, value in top.items()]
        logprobs = {"content": [entries[0] | {"top_logprobs": entries}]}
    if shape == "chat":
        return {"choices": [{"message": {"content": "a"}, "logprobs": logprobs}]}
    return {"choices": [{"text": " a", "logprobs": logprobs}]}


OF_THE_JUDGE = (
    "cache",
    "counts",
    "calibration",
    "max_item_length",
    "max_prompt_length",
    "least_mass",
)


def judge_on(dataset, server, *, path="", scoring=None, **of):
    """A judge on a server; the options of its model go to its model."""
    for_judge = {name: of.pop(name) for name in OF_THE_JUDGE if name in of}
    url = server if isinstance(server, str) else server.url
    return LanguageModelJudge(dataset, Model(url + path, "some/model", **of), scoring, **for_judge)


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def dataset():
    titles = [f"thing {i} of {'red' if i % 2 else 'blue'} wood" for i in range(N_ITEMS)]
    interactions = {"sequence_id": [0, 0], "item_id": [0, 1]}
    items = {"item_id": range(N_ITEMS), "title": titles}
    return from_frame(
        "shop", interactions, items, text="title", reading=Reading(rows_in_order=True)
    )


def make_requests(n, seed=0):
    rng = np.random.default_rng(seed)
    histories = np.stack([rng.choice(N_ITEMS, 4, replace=False) for _ in range(n)])
    slates = np.stack([rng.choice(N_ITEMS, K, replace=False) for _ in range(n)])
    return histories, slates


def expected_scores(judge, histories, slates):
    scores = np.empty(slates.shape)
    for row, question in enumerate(judge.questions(histories, slates)):
        values = log_probs_of(question.prompt)
        order = label_order(0, histories[row], slates[row])
        for label, position in zip(LABELS, order, strict=False):
            scores[row, position] = values[label] - values[LABELS[K]]
    return scores


@pytest.mark.parametrize("shape", ["pairs", "list", "echo", "nulls", "chat"])
def test_scores_are_the_servers_log_probabilities(server, dataset, shape):
    server.shape = shape
    path = "/chat/completions" if shape == "chat" else ""
    judge = judge_on(dataset, server, path=path, api_key=" secret\n")
    requests = make_requests(20)
    scores = judge.scores(*requests)
    assert scores == pytest.approx(expected_scores(judge, *requests), abs=1e-4)
    picks = judge.choose(*requests)
    best = scores.max(axis=1)
    assert picks.tolist() == np.where(best > 0, scores.argmax(axis=1), -1).tolist()
    asked, key, request = server.requests[0]
    assert (asked, key) == (f"/v1{path or '/completions'}", "Bearer secret")
    rest = {"model": "some/model", "max_tokens": 1, "temperature": 0}
    if shape == "chat":
        rest |= {"logprobs": True, "top_logprobs": 20}
        system, user = request.pop("messages")
        assert system["content"].startswith("Answer with the small letter")
        assert user["content"].endswith("taste, the user will select")
    else:
        rest |= {"logprobs": 20}
        assert request.pop("prompt").endswith("taste, the user will select")
    assert request == rest
    assert judge.probabilities(*requests).sum(axis=1) == pytest.approx(np.ones(20))
    total, n = judge.scoring.masses
    assert total / n == pytest.approx(1.0, abs=1e-3)


def test_nothing_is_lost_wrong_or_asked_twice_under_faults(server, dataset, tmp_path):
    server.fault_rate = 0.3
    judge = judge_on(
        dataset,
        server,
        cache=tmp_path / "verdicts.sqlite",
        timeout=TIMEOUT,
        backoff=0.005,
        retries=20,
    )
    histories, slates = make_requests(200)
    scores = judge.scores(histories, slates)
    assert scores == pytest.approx(expected_scores(judge, histories, slates), abs=1e-4)
    assert all(server.faults[fault] for fault in FAULTS), server.faults
    assert len(server.served) == 200
    assert set(server.served.values()) == {1}
    before = len(server.requests)
    assert np.array_equal(judge.scores(histories, slates), scores)
    assert len(server.requests) == before
    assert cache_stats(tmp_path / "verdicts.sqlite")[0]["verdicts"] == 200


def test_requests_run_at_the_same_time_but_not_more_than_allowed(server, dataset):
    judge_on(dataset, server, concurrency=4).scores(*make_requests(60))
    assert 2 <= server.most_at_once <= 4


def test_a_refusal_is_an_error_at_once(server, dataset):
    server.refuse = 404
    judge = judge_on(dataset, server, concurrency=1)
    with pytest.raises(ServerError, match=r'answered 404: \{"error": "model not found"'):
        judge.scores(*make_requests(1))
    assert len(server.requests) == 1


def test_a_server_that_never_recovers_is_an_error_after_the_retries(server, dataset):
    server.refuse = 503
    judge = judge_on(dataset, server, retries=2, backoff=0.001)
    with pytest.raises(ServerError, match=r"1 of 1 questions failed: .* answered 503"):
        judge.scores(*make_requests(1))
    assert len(server.requests) == 3


def test_a_server_that_is_not_there_is_an_error(dataset):
    judge = judge_on(dataset, "http://127.0.0.1:9", retries=1, backoff=0.001)
    with pytest.raises(ServerError, match="gave no answer"):
        judge.scores(*make_requests(1))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "sent no answer but <html>"),
        (b'{"choices": [{"logprobs": null}]}', "sent no log-probabilities"),
        (
            b'{"choices": [{"logprobs": {"top_logprobs": [{" the": -1.0}]}}]}',
            r"'some/model' gives all labels together a probability of 0, less than least_mass=0.1, "
            r"and wants to say ' the' \(37%\)",
        ),
    ],
)
def test_an_answer_without_labels_is_an_error(server, dataset, body, message):
    server.body = body
    with pytest.raises(ServerError, match=message):
        judge_on(dataset, server).scores(*make_requests(1))


def test_what_one_failure_leaves_is_kept(server, dataset, tmp_path):
    file = tmp_path / "verdicts.sqlite"
    judge = judge_on(dataset, server, cache=file, retries=0)
    server.fault_rate = 0.3
    with pytest.raises(ServerError, match="of 40 questions failed"):
        judge.scores(*make_requests(40))
    kept = len(server.served)
    assert 0 < kept < 40
    assert cache_stats(file)[0]["verdicts"] == kept
    server.fault_rate = 0.0
    judge.scores(*make_requests(40))
    assert set(server.served.values()) == {1}


def test_missing_labels_share_what_is_left(server, dataset):
    tops = {" b": -0.6, "f": -1.6, " zebra": -3.0, "b": -2.0}
    server.body = json.dumps({"choices": [{"logprobs": {"top_logprobs": [tops]}}]}).encode()
    judge = judge_on(dataset, server)
    histories, slates = make_requests(1)
    by_label = judge.scores(histories, slates)[0][label_order(0, histories[0], slates[0])]
    missing = np.log((1 - np.exp(list(tops.values())).sum()) / 4) + 1.6
    assert missing < -2
    assert by_label == pytest.approx([missing, 1.0, missing, missing, missing], abs=1e-5)
    # A label that is the last token returned is above those that are not returned.
    tops = {" the": -0.7, " b": -0.8}
    server.body = json.dumps({"choices": [{"logprobs": {"top_logprobs": [tops]}}]}).encode()
    by_label = judge.scores(histories, slates)[0][label_order(0, histories[0], slates[0])]
    assert by_label == pytest.approx([0, by_label[1], 0, 0, 0])
    assert by_label[1] > 2


def test_popularity_and_none_shift_the_choice(server, dataset):
    server.body = json.dumps(
        {"choices": [{"logprobs": {"top_logprobs": [dict.fromkeys("abcdef", -2.0)]}}]}
    ).encode()
    counts = np.arange(N_ITEMS)
    requests = make_requests(10)
    rule = Calibration(scale=1.0, popularity=0.5, none=1.0)
    judge = judge_on(dataset, server, calibration=rule, counts=counts)
    picks = judge.choose(*requests)
    assert picks.tolist() == requests[1].argmax(axis=1).tolist()
    chances = judge.probabilities(*requests)
    odds = chances[:, :-1] / chances[:, -1:]
    assert odds == pytest.approx(np.sqrt(1 + requests[1]) / np.e, rel=1e-5)


def test_long_texts_and_histories_are_cut(server, dataset):
    judge = judge_on(dataset, server, max_item_length=7, max_prompt_length=760)
    (question,) = judge.questions(np.arange(10, 16)[None], np.arange(20, 25)[None])
    assert len(question.prompt) <= 760
    assert 0 < question.prompt.count("- thing 1\n") < 6
    assert all(f"{label}. thing 2" in question.prompt for label in "abcde")
    assert "buying one product after another" in question.prompt
    with pytest.raises(ValueError, match="base_url='localhost'"):
        judge_on(dataset, "localhost")


def test_a_real_server_agrees_with_the_model_in_this_process(dataset):
    """llama.cpp serves the same weights as transformers loads."""
    xllamacpp = pytest.importorskip("xllamacpp")

    from llm_oracle.language_model import smollm2

    parameters = xllamacpp.CommonParams()
    try:
        parameters.model.path = str(smollm2.find_gguf())
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    parameters.n_ctx = 1024
    parameters.cpuparams.n_threads = 1
    parameters.port = 0
    served = xllamacpp.Server(parameters)
    address = served.listening_address + "/v1"
    # All labels are wanted, and to a small model many words are likelier than some of them.
    judge = judge_on(dataset, address, top=5000, least_mass=0.0)
    local = local_judge(dataset, adapter=None, scoring="label", dtype=torch.float32)
    requests = make_requests(2)
    questions = judge.questions(*requests)
    prompts, labels = [q.prompt for q in questions], questions[0].options
    assert prompts == [q.prompt for q in local.questions(*requests)]
    mine, theirs = (
        dict(j.model.label_answers(prompts, labels, 0.0, j.model.beginning(prompts)))
        for j in (local, judge)
    )
    for number in range(2):
        # llama.cpp rounds activations to 8 bits before its products with quantized weights.
        assert theirs[number].values == pytest.approx(mine[number].values, abs=0.5)
        here, there = np.exp(mine[number].values), np.exp(theirs[number].values)
        assert there == pytest.approx(here, abs=0.004)
        assert np.ptp(mine[number].values) > 2  # nats, four times what rounding may do
        assert theirs[number].mass == pytest.approx(mine[number].mass, abs=0.01)
    with pytest.raises(JudgeError, match="all labels together .* wants to say ' the' "):
        judge_on(dataset, address, least_mass=0.5).scores(*requests)
    chat = judge_on(dataset, address, path="/chat/completions", least_mass=0.0)
    chat.scores(requests[0][:1], requests[1][:1])
    assert 0 < chat.scoring.masses[0] < 1
    with pytest.raises(ServerError, match="exceeds the available context size.*max_prompt_length"):
        list(chat.model.label_answers(["tea " * 3000], labels, 0.0, None))
