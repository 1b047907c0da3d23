"""Benchmarks: ratios against a named peer or limit, both sides in one run.

``__main__`` lists them, a module each. The other modules are what several of them share: ``stage``
and ``fault_stage`` (servers, texts, workers), ``load`` and ``workers`` (what goes on meanwhile),
``endpoint`` and ``peers`` (other sides), ``collections``, ``long_documents`` and ``real_vectors``
(data), ``report`` (results).
"""
