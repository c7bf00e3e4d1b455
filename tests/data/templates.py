"""Chat templates of the kinds that models come with, written for the tests."""

CHATML = """{% for message in messages %}<|{{ message['role'] }}|>
{{ message['content'] }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""

# In Llama's manner: a start token, tools in a system turn, contents trimmed, tool calls as JSON.
LLAMA = """{{ bos_token }}{% if tools %}<|system|>Tools: {{ tools | tojson }}<|end|>{% endif %}\
{% for message in messages %}<|{{ message['role'] }}|>

{% if message['tool_calls'] %}{{ message['tool_calls'] | tojson }}{% else %}{{ message['content'] | trim }}\
{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>

{% endif %}"""

# An empty think block goes into the last answer if it has none of its own; the opening leaves it to the model.
THINK_BLOCK = """{% for message in messages %}<|{{ message['role'] }}|>
{% if message['role'] == 'assistant' and loop.last and '</think>' not in message['content'] %}<think>

</think>

{% endif %}{{ message['content'] }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""

# The opening already holds the start of a think block, finished turns do not.
THINK_OPENED = """{% for message in messages %}<|{{ message['role'] }}|>
{{ message['content'].split('</think>')[-1] }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
<think>
{% endif %}"""

# Thinking is kept in the last answer and dropped from earlier ones.
STRIP_THINKING = """{% for message in messages %}<|{{ message['role'] }}|>
{% if message['role'] == 'assistant' and not loop.last %}{{ message['content'].split('</think>')[-1] | trim }}\
{% else %}{{ message['content'] }}{% endif %}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""

GENERATION = """{% for message in messages %}<|{{ message['role'] }}|>
{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}{% endgeneration %}<|end|>
{% else %}{{ message['content'] }}<|end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""

# In Gemma's manner: no system turn, and no other order than user, assistant, user …
NO_SYSTEM = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}\
{% endif %}<|{{ message['role'] }}|>
{{ message['content'] | trim }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""

# In Mistral's manner: tools stand before the last user turn, wherever that is.
MOVED_TOOLS = """{% set last = messages | map(attribute='role') | list | join(',') %}{{ bos_token }}\
{% set ns = namespace(last=0) %}{% for message in messages %}{% if message['role'] == 'user' %}\
{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for message in messages %}\
{% if message['role'] == 'user' %}{% if tools and loop.index0 == ns.last %}<|tool|>{{ tools | tojson }}{% endif %}\
<|user|>{{ message['content'] }}<|assistant|>{% else %}{{ message['content'] }}<|end|>{% endif %}{% endfor %}"""

# No special token at the boundary: "\\n" of the header can join the answer's first line breaks.
PLAIN = """{% for message in messages %}{{ message['role'] }}:
{{ message['content'] }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant:
{% endif %}"""

# Truncates every turn to ten characters and writes answers twice: no way to tell what is trained.
HOPELESS = """{% for message in messages %}{{ message['content'] }}#{{ message['content'] }}#{{ messages | length }}\
{% endfor %}"""
