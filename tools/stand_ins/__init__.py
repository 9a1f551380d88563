"""Makes the embedded data of the stand-ins synthetic-sms and gpt2-nano."""
