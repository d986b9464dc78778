"""Chat templates written here in the style that checkpoints ship them in."""

CHATML = """{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|im_start|>system\\nYou answer briefly.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + message['content']
        + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
CHATML_GENERATION = """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{- message.content + '<|im_end|>' -}}
        {% endgeneration %}
    {%- else %}
        {{- message.content + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
LLAMA2 = """{% if messages[0]['role'] == 'system' %}
{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}
{% else %}{% set rest = messages %}{% set system = false %}{% endif %}
{% for message in rest %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('user and assistant take turns') }}{% endif %}
{% if loop.index0 == 0 and system != false %}
{% set system = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' %}
{% set text = system + message['content'] %}
{% else %}{% set text = message['content'] %}{% endif %}
{% if message['role'] == 'user' %}
{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}
{%- elif message['role'] == 'assistant' %}
{{ ' ' + text.strip() + ' ' + eos_token }}
{%- endif %}
{% endfor %}"""
LLAMA3 = """{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set system = messages[0].content | trim %}
    {%- set messages = messages[1:] %}
{%- else %}{%- set system = '' %}{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' }}
{{- strftime_now('%d %b %Y') + '\\n\\n' + system + '<|eot_id|>' }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n'
        + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""
GEMMA = """{{ bos_token }}{% set ns = namespace(before='') %}
{%- if messages[0]['role'] == 'system' %}
{%- set ns.before = messages[0]['content'] + '\\n\\n' %}
{%- set messages = messages[1:] %}{% endif %}
{%- for message in messages %}
{%- if message['role'] not in ['user', 'assistant'] %}
{%- continue %}{% endif %}
{%- set role = 'model' if message['role'] == 'assistant' else 'user' %}
{{- '<start_of_turn>' + role + '\\n' + (ns.before if loop.first else '')
    + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
TOOLS = """{% for m in messages %}
{{ {'role': m.role, 'é<b>': [1, none]} | tojson }}
{{ m | tojson(indent=2) }}
{% if tools is none and documents is none %}!{% endif %}
{% if loop.index > 2 %}{% break %}{% endif %}
{% endfor %}{{ dict(a=1)['a'] }}{{ range(3) | list }}{{ eos_token }}"""
# Says where an answer stands for the last one only, as reasoning models do.
LAST_DIFFERS = """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if loop.last and message.role == 'assistant' %}{{- 'Hm. ' }}{%- endif %}
    {{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
# family of the tokenizer, template
ALL = {
    "chatml": ("qwen", CHATML),
    "chatml_generation": ("qwen", CHATML_GENERATION),
    "llama2": ("llama", LLAMA2),
    "llama2_first": ("mistral", LLAMA2),
    "llama3": ("llama3", LLAMA3),
    "gemma": ("gemma", GEMMA),
}
