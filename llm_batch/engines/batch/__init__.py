"""The providers' batch APIs: half the price, within a day, by jobs that outlive the process.

`engine` moves requests into jobs and their answers back; `job_log` is what makes that survive a
kill; `openai`, `anthropic` and `gemini` each speak one vendor's API behind `api.BatchApi`.
"""
