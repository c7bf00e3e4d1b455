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

# In Qwen's manner: tools in the system turn, arguments as an object, thinking apart and only after the last question;
# a developer's turn is left out.
TOOL_TAGS = """{% if tools %}<|system|>
{{ messages[0].content + '\\n' if messages[0].role == 'system' else '' }}{% for t in tools %}{{ t | tojson }}
{% endfor %}<|end|>
{% elif messages[0].role == 'system' %}<|system|>
{{ messages[0].content }}<|end|>
{% endif %}{% for m in messages %}{% if m.role == 'user' or (m.role == 'system' and not loop.first) %}<|{{ m.role }}|>
{{ m.content }}<|end|>
{% elif m.role == 'assistant' %}<|assistant|>
{% if m.reasoning_content and loop.last %}<think>{{ m.reasoning_content }}</think>
{% endif %}{{ m.content }}{% for c in m.tool_calls %}<call>{"name": "{{ c.function.name }}", "arguments": \
{{ c.function.arguments | tojson }}}</call>{% endfor %}<|end|>
{% elif m.role == 'tool' %}<|tool|>
{{ m.content }}<|end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% if enable_thinking is defined and enable_thinking is false %}<think></think>
{% endif %}{% endif %}"""

# In DeepSeek's manner: arguments are joined as text, and calls are written only where the turn has no content.
TEXT_ARGUMENTS = """{% for m in messages %}<|{{ m['role'] }}|>
{% if m['tool_calls'] and m['content'] is not defined %}{% for c in m['tool_calls'] %}\
{{ c['function']['name'] + ': ' + c['function']['arguments'] }}{% endfor %}{% else %}{{ m['content'] }}\
{% endif %}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""

# Says which day it is.
DATED = """<|system|>
Today is {{ strftime_now('%d %b %Y') }}, {{ strftime_now("%A") }}.<|end|>
{% for m in messages %}<|{{ m['role'] }}|>
{{ m['content'] }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""
